// How the page looks and speaks: axe finds nothing on any page, in light and dark and on a phone; languages, theme and keyboard.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { ADA, start, TENANT } from "./host.mjs";

const { host, inConsole } = start();
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

// Every page, with something on it.
async function pages() {
  const message = { attachments: [{ contentType: "application/vnd.microsoft.card.adaptive", content: { type: "AdaptiveCard", version: "1.4", fallbackText: "x", body: [{ type: "TextBlock", text: "A **card**" }], actions: [{ type: "Action.OpenUrl", title: "Open", url: "https://a.example" }] } }] };
  const { id } = await host.api("POST", "/api/notifications", { audience: { everyone: true }, message, dryRun: true });
  await host.api("PUT", "/api/schedules/mornings", { cron: "0 9 * * *", notification: { audience: { everyone: true }, message: { text: "Good morning" } } });
  const [{ conversation }] = (await host.api("GET", `/api/conversations?user=${ADA}`)).conversations;
  return {
    compose: "#/compose",
    sent: "#/sent",
    notification: `#/notifications/${id}`,
    people: `#/people?tenant=${TENANT}`,
    conversation: `#/conversations/${encodeURIComponent(conversation)}`,
    person: `#/people/${ADA}?tenant=${TENANT}`,
    events: "#/events",
    schedules: "#/schedules",
    schedule: "#/schedules/mornings",
    health: "#/health",
    nothing: "#/nothing",
  };
}

async function violations(console) {
  await console.page.addScriptTag({ path: axe });
  const found = (await console.page.evaluate(() => window.axe.run())).violations;
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

async function isAccessible(console, name) {
  assert.deepEqual(await violations(console), [], name);
}

const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 360, height: 780 } },
};

for (const [look, options] of Object.entries(LOOKS)) {
  // The policy of the page forbids a script of elsewhere, such as axe.
  test(`every page is accessible, ${look}`, inConsole({ ...options, bypassCSP: true }, async (console) => {
    for (const [name, hash] of Object.entries(await pages())) {
      await console.open(hash);
      await console.page.waitForLoadState("networkidle");
      await console.picture(`${name}-${look}`);
      await isAccessible(console, `${name}, ${look}`);
      const width = await console.page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= console.page.viewportSize().width, `${name} is ${width} px wide`);
    }
  }));
}

test("axe finds what is wrong", inConsole({ bypassCSP: true }, async (console) => {
  await console.open("#/compose");
  await console.page.evaluate(() => document.querySelector("label[for]").remove());
  assert.match((await violations(console)).join(" "), /label: <textarea/);
}));

test("the page is there in high contrast, and dialogs are accessible", inConsole({ forcedColors: "active", bypassCSP: true }, async (console) => {
  await console.open("#/events");
  await console.button("Make a hook").click();
  await console.page.locator("dialog").waitFor();
  await isAccessible(console, "the dialog of a hook");
  await console.page.keyboard.press("Escape");
  await console.page.locator("dialog").waitFor({ state: "detached" });
  // The browser gives the focus back to what opened the dialog.
  assert.equal(await console.page.evaluate(() => document.activeElement.textContent), "Make a hook");
}));

test("the language and the theme are chosen, and kept", inConsole({}, async (console) => {
  await console.open("#/sent");
  await console.field("Language").selectOption("de");
  await console.page.getByRole("heading", { name: "Gesendet" }).waitFor();
  await console.field("Farbschema").selectOption("dark");
  await console.open("#/sent");
  await console.page.getByRole("heading", { name: "Gesendet" }).waitFor();
  assert.deepEqual(await console.page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset.theme]), ["de", "dark"]);
}));

test("the browser's language is spoken", inConsole({ locale: "de-AT" }, async (console) => {
  await console.open("#/compose");
  await console.page.getByRole("heading", { name: "Verfassen" }).waitFor();
}));

test("the keyboard reaches everything, and a new page has the focus", inConsole({}, async (console) => {
  const { page } = console;
  await console.open("#/compose");
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  assert.equal(await focused(), "Compose");
  await page.getByRole("link", { name: "Health" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.textContent === "Health" && document.activeElement.tagName === "H1");
  assert.match(await page.title(), /^Health/);
  await console.open("#/compose");
  await page.getByRole("link", { name: "Skip to the page" }).focus();
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "Compose");
  // Radio buttons by arrow, as everywhere.
  await page.getByRole("radio", { name: "Text", exact: true }).focus();
  await page.keyboard.press("ArrowRight");
  await page.getByLabel("What happened").waitFor();
}));

test("nothing is asked of another host", inConsole({}, async (console) => {
  const asked = new Set();
  console.page.on("request", (request) => asked.add(new URL(request.url()).origin));
  for (const hash of Object.values(await pages())) await console.open(hash);
  await console.page.waitForLoadState("networkidle");
  assert.deepEqual([...asked].filter((origin) => origin !== "null"), [host.url]);
}));
