// Requests to the API. Every refusal becomes a Problem, the same as the API's own problem documents (RFC 9457).

import { token, signInAgain } from "./sign-in.js";
import { t } from "./i18n.js";

export class Problem extends Error {
  constructor({ status = 0, title = "", detail = "", errors = [] }) {
    super(detail || title);
    Object.assign(this, { status, title, detail: detail || title, errors });
  }
}

// A value in a path. API Gateway decodes a path before it matches a route, so some values have to be written as base64url.
export function segment(value) {
  const isRewritten = /[/?\\\p{Cc}]/u.test(value) || value === "." || value === ".." || value.startsWith("base64:");
  if (!isRewritten) return encodeURIComponent(value);
  const bytes = String.fromCharCode(...new TextEncoder().encode(value));
  return "base64:" + btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// `/api/x?a=1` of a path and the query parameters that are not empty.
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export async function send(method, path, { body, headers = {}, signal } = {}) {
  const all = { accept: "application/json", ...headers };
  if (body !== undefined) all["content-type"] = "application/json";
  if (token()) all.authorization = `Bearer ${token()}`;
  let response;
  try {
    response = await fetch(path, { method, headers: all, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: t("problem.unreachable") });
  }
  if (response.ok) return response;
  if (response.status === 401) await signInAgain();
  throw await problemOf(response);
}

async function problemOf(response) {
  const document = await response.json().catch(() => ({}));
  // API Gateway itself answers `{"message": …}`.
  const detail = document.detail ?? document.message ?? t("problem.status", { status: response.status });
  return new Problem({ ...document, status: response.status, detail });
}

async function read(response) {
  return response.status === 204 ? null : response.json();
}

export const get = async (path, options) => read(await send("GET", path, options));
export const post = async (path, body, options) => read(await send("POST", path, { ...options, body }));
export const put = async (path, body) => read(await send("PUT", path, { body }));
export const remove = async (path) => read(await send("DELETE", path));

// A report of any size: each answer names the next one in its `Link` header. The first has the line of column names.
export async function csv(path) {
  const parts = [];
  for (let next = path; next; ) {
    const response = await send("GET", next, { headers: { accept: "text/csv" } });
    parts.push(await response.text());
    next = /<([^>]+)>/.exec(response.headers.get("link") ?? "")?.[1];
  }
  return parts.join("");
}
