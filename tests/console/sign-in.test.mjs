// Sign-in, against an issuer that the browser is made to see. The real host has none.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { start } from "./host.mjs";

const { host, inConsole } = start();

const ISSUER = "https://login.example/tenant/v2.0";

// An issuer that signs everybody in at once. `states` are what its answers say, the request's own if there is none left.
class Issuer {
  asked = [];
  redeemed = [];

  constructor(states = []) {
    this.states = states;
  }

  async serve(page) {
    await page.route("**/console/config.json", (route) => route.fulfill({ json: { issuer: ISSUER, clientId: "client", scope: "api://herald/.default" } }));
    // The local host refuses what another site leads to.
    await page.route(/\/console\?code=/, async (route) => route.fulfill({ response: await route.fetch({ headers: {} }) }));
    await page.route("https://login.example/**", (route) => this.answer(route));
  }

  answer(route) {
    const url = new URL(route.request().url());
    const headers = { "access-control-allow-origin": "*" };
    if (url.pathname === "/tenant/v2.0/.well-known/openid-configuration") {
      return route.fulfill({ headers, json: { authorization_endpoint: "https://login.example/authorize", token_endpoint: "https://login.example/token" } });
    }
    if (url.pathname === "/authorize") {
      const query = Object.fromEntries(url.searchParams);
      this.asked.push(query);
      const back = new URLSearchParams({ code: `code-${this.asked.length}`, state: this.states.shift() ?? query.state });
      return route.fulfill({ status: 302, headers: { location: `${query.redirect_uri}?${back}` } });
    }
    this.redeemed.push(Object.fromEntries(new URLSearchParams(route.request().postData())));
    return route.fulfill({ headers, json: { access_token: "a-token", expires_in: 3600 } });
  }
}

test("a person signs in by a code with PKCE, and the API gets the token", inConsole({ bypassCSP: true }, async (console) => {
  const issuer = new Issuer();
  await issuer.serve(console.page);
  const request = console.page.waitForRequest((request) => new URL(request.url()).pathname === "/api/notifications");
  await console.open("#/sent");
  assert.equal((await request).headers().authorization, "Bearer a-token");
  // The page is the one that was asked for, and its address holds no code.
  await console.page.getByRole("heading", { name: "Sent" }).waitFor();
  assert.equal(console.page.url(), `${host.url}/console#/sent`);

  const [asked] = issuer.asked;
  const [redeemed] = issuer.redeemed;
  assert.deepEqual(
    [asked.client_id, asked.response_type, asked.redirect_uri, asked.scope, asked.code_challenge_method],
    ["client", "code", `${host.url}/console`, "api://herald/.default", "S256"],
  );
  assert.equal(redeemed.code, "code-1");
  assert.equal(createHash("sha256").update(redeemed.code_verifier).digest("base64url"), asked.code_challenge);
  await console.button("Sign out").waitFor();
}));

test("an answer to another request is not believed", inConsole({ bypassCSP: true }, async (console) => {
  const issuer = new Issuer(["of another page"]);
  await issuer.serve(console.page);
  await console.open("#/sent");
  await console.page.getByRole("heading", { name: "Sent" }).waitFor();
  assert.equal(issuer.asked.length, 2);
  assert.deepEqual(issuer.redeemed.map(({ code }) => code), ["code-2"]);
}));
