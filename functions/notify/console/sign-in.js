// Sign-in: OAuth 2.0 authorization code with PKCE (RFC 7636) against the issuer whose tokens the API takes. The local host
// has no sign-in, and its configuration is empty.

const TOKEN = "herald.token";
const PENDING = "herald.signIn";

let configuration = {};

export const isConfigured = () => Boolean(configuration.clientId);

// The access token, if there is one that is still good for a minute. It lives as long as the tab.
export function token() {
  const kept = JSON.parse(sessionStorage.getItem(TOKEN) ?? "null");
  return kept && kept.expiresAt > Date.now() + 60_000 ? kept.accessToken : null;
}

// Reads the configuration, and ends a sign-in from which the browser came back. Whether the page can go on.
export async function startSession() {
  const response = await fetch("/console/config.json");
  if (!response.ok) throw new Error(`GET /console/config.json: ${response.status}`);
  configuration = await response.json();
  if (!isConfigured()) return true;
  const answer = new URLSearchParams(location.search);
  if (answer.has("error")) throw new Error(answer.get("error_description") ?? answer.get("error"));
  if (answer.has("code")) await redeem(answer);
  if (token()) return true;
  await signInAgain();
  return false;
}

export function signOut() {
  sessionStorage.removeItem(TOKEN);
  location.assign("/console");
}

// Leaves for the issuer's page. Nothing comes after it but the way back.
export async function signInAgain() {
  if (!isConfigured()) return;
  const { authorization_endpoint: page } = await metadata();
  const verifier = random();
  const pending = { verifier, state: random(), hash: location.hash };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const query = new URLSearchParams({
    client_id: configuration.clientId,
    response_type: "code",
    redirect_uri: redirectUri(),
    scope: configuration.scope,
    state: pending.state,
    code_challenge: await challenge(verifier),
    code_challenge_method: "S256",
  });
  location.assign(`${page}?${query}`);
  await new Promise(() => {});
}

async function redeem(answer) {
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", `/console${pending?.hash ?? ""}`);
  // An answer to a request of another page is not believed.
  if (!pending || answer.get("state") !== pending.state) return;
  const { token_endpoint: endpoint } = await metadata();
  const body = new URLSearchParams({
    client_id: configuration.clientId,
    grant_type: "authorization_code",
    code: answer.get("code"),
    redirect_uri: redirectUri(),
    code_verifier: pending.verifier,
    scope: configuration.scope,
  });
  const response = await fetch(endpoint, { method: "POST", body });
  const granted = await response.json();
  if (!response.ok) throw new Error(granted.error_description ?? granted.error);
  const kept = { accessToken: granted.access_token, expiresAt: Date.now() + granted.expires_in * 1000 };
  sessionStorage.setItem(TOKEN, JSON.stringify(kept));
}

async function metadata() {
  const issuer = configuration.issuer.replace(/\/$/, "");
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  if (!response.ok) throw new Error(`${issuer}: ${response.status}`);
  return response.json();
}

const redirectUri = () => `${location.origin}/console`;
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const challenge = async (verifier) => base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
