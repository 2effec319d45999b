// From the form of the page "Compose" to the body of a request, and back. Pure: it knows no page and no time.

import { ADAPTIVE_CARD, EMPTY_FIELDS, notificationCard, summaryOf } from "./card.js";

export const EMPTY_SELECTOR = { kind: "everyone", value: "", tenant: "", to: "general", guests: true, thread: "", scope: "", except: "" };

export const EMPTY_DRAFT = {
  message: { kind: "text", text: "", card: "", activity: "", summary: "", fields: EMPTY_FIELDS },
  audience: [EMPTY_SELECTOR],
  when: { kind: "now", at: "", zone: "", cron: "0 9 * * MON-FRI", name: "", endsAt: "", expiresAt: "", retractAt: "", expiresIn: "", retractIn: "" },
  options: { category: "", subject: "", priority: "", guarantee: "", ifNoConversation: "", ifUnreachable: "", sendMode: "", mandatory: false },
};

// The members of a selector that hold what it is about.
export const SELECTORS = ["everyone", "tenant", "users", "accounts", "conversations", "team", "channel", "groupChat", "tag"];
const LISTS = ["users", "accounts", "conversations"];

// A field of the form that cannot become JSON, as the API would name it.
export class FormFault extends Error {
  constructor(pointer, key) {
    super(key);
    Object.assign(this, { pointer, key });
  }
}

export function messageOf(message) {
  if (message.kind === "activity") return parsed(message.activity, "#/message");
  const summary = message.summary ? { summary: message.summary } : {};
  if (message.kind === "text") return { text: message.text, ...summary };
  const content = message.kind === "card" ? cardOf(message.card) : notificationCard(message.fields);
  const ownSummary = message.kind === "notification" ? { summary: summaryOf(message.fields) } : {};
  return { ...ownSummary, ...summary, attachments: [{ contentType: ADAPTIVE_CARD, content }] };
}

function parsed(text, pointer) {
  try {
    return JSON.parse(text);
  } catch {
    throw new FormFault(pointer, "compose.notJson");
  }
}

function cardOf(text) {
  let card = parsed(text, "#/message/attachments");
  // A whole message or attachment was pasted: its card is meant.
  card = card?.attachments?.[0]?.content ?? (card?.contentType ? card.content : card);
  if (card?.type !== "AdaptiveCard") throw new FormFault("#/message/attachments", "compose.cardNotACard");
  return card;
}

const ids = (text) => text.split(/[\s,]+/).filter(Boolean);
const filled = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== "" && value !== undefined && value !== false));

export function selectorOf(selector) {
  const { kind, value, tenant, to, guests, thread, scope, except } = selector;
  const text = value.trim();
  const main = { [kind]: kind === "everyone" ? true : LISTS.includes(kind) ? ids(value) : text };
  if (kind === "users") Object.assign(main, filled({ tenant: tenant.trim() }));
  if (kind === "team") main.to = to;
  if (kind === "groupChat" && to === "members") main.to = to;
  if (["team", "groupChat"].includes(kind) && to === "members" && !guests) main.guests = false;
  if (kind === "channel") Object.assign(main, filled({ thread: thread.trim() }));
  if (scope) main.scope = scope;
  if (except.trim()) main.except = ids(except);
  return main;
}

function timesOf(when, moment) {
  const deliverAt = {
    moment: when.at && moment(when.at),
    zone: when.at && { at: when.at, zone: when.zone },
    recipient: when.at && { at: when.at, zone: "recipient", ...filled({ fallback: when.zone }) },
  }[when.kind];
  return filled({ deliverAt: deliverAt ?? "", expiresAt: moment(when.expiresAt), retractAt: moment(when.retractAt) });
}

// What is said the same in a request, in a plan of it, and in a schedule.
function contentOf(draft) {
  return { audience: draft.audience.map(selectorOf), message: messageOf(draft.message), ...filled(draft.options) };
}

// The body of `POST /api/notifications`; `moment` makes the text of an input a moment.
export const requestOf = (draft, moment) => ({ ...contentOf(draft), ...timesOf(draft.when, moment) });

// The body that counts the audience and sends nothing. Its times do not matter, and could put off the count.
export const dryRunOf = (draft) => ({ ...contentOf(draft), dryRun: true });

// The body of `PUT /api/schedules/{name}`.
export function scheduleOf(draft, moment) {
  const { cron, zone, endsAt, expiresIn, retractIn } = draft.when;
  return {
    ...filled({ cron: cron.trim(), zone, endsAt: moment(endsAt) }),
    notification: { ...contentOf(draft), ...filled({ expiresIn, retractIn }) },
  };
}

function selectorFormOf(selector) {
  const kind = SELECTORS.find((name) => name !== "tenant" && name in selector) ?? "tenant";
  const value = selector[kind];
  return {
    ...EMPTY_SELECTOR,
    kind,
    value: Array.isArray(value) ? value.join("\n") : value === true ? "" : value,
    tenant: kind === "users" ? selector.tenant ?? "" : "",
    to: selector.to ?? EMPTY_SELECTOR.to,
    guests: selector.guests ?? true,
    thread: selector.thread ?? "",
    scope: selector.scope ?? "",
    except: (selector.except ?? []).join("\n"),
  };
}

// A message that the simpler forms cannot show whole is shown as its JSON, so that nothing of it is lost.
function messageFormOf(message) {
  const { type, text = "", summary = "", attachments = [], ...others } = message ?? {};
  const form = { ...EMPTY_DRAFT.message, text, summary };
  const isOneCard = attachments.length === 1 && attachments[0].contentType === ADAPTIVE_CARD && text === "";
  if (Object.keys(others).length > 0 || (attachments.length > 0 && !isOneCard)) {
    return { ...form, kind: "activity", activity: JSON.stringify(message, null, 2) };
  }
  return isOneCard ? { ...form, kind: "card", card: JSON.stringify(attachments[0].content, null, 2) } : form;
}

// The form of a notification that was sent, to be sent again: its content without its times.
export function draftOf(notification) {
  const { category, subject, priority, guarantee, sendMode, mandatory = false } = notification;
  const known = filled({ category: category ?? "", subject: subject ?? "", priority, guarantee, sendMode });
  return {
    ...EMPTY_DRAFT,
    message: messageFormOf(notification.message),
    audience: [notification.audience].flat().filter(Boolean).map(selectorFormOf),
    options: { ...EMPTY_DRAFT.options, ...known, mandatory },
  };
}
