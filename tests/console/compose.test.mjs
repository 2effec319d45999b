// Compose: what is written is shown as Teams shows it, counted before it is sent, and arrives.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { ADA, start, TENANT } from "./host.mjs";

const { inConsole } = start();

test("a card by fields is previewed, counted, sent, and arrives in the channel", inConsole({}, async (console, host) => {
  await console.open("#/compose");
  await console.choose("Notification card");
  await console.field("What happened").fill("Version 7 is deployed");
  await console.field("What came of it").fill("All 12 checks passed.");
  await console.button("Add a button").click();
  await console.field("Text of the button").fill("Open");
  await console.field("Address of the page").fill("https://deploy.example/7");
  await console.page.locator(".card").getByText("Version 7 is deployed").waitFor();
  await console.page.locator(".toast").getByText("Version 7 is deployed: All 12 checks passed.").waitFor();
  await console.picture("compose-card");

  await console.button("Send…").click();
  await console.page.locator("dialog").getByText("recipients").waitFor();
  await console.picture("compose-confirm");
  await console.button("Send to 5").click();
  await console.sees("Every delivery to its 5 recipients has ended.");
  await host.says("Version 7 is deployed");
  // The recipients follow the counts.
  await console.page.locator("td .state.good").nth(4).waitFor();
  await console.picture("notification-completed");
}));

test("a problem is shown at the field that it is about", inConsole({}, async (console) => {
  await console.open("#/compose");
  await console.button("Send…").click();
  await console.page.getByRole("alert").getByText("message").waitFor();
  assert.equal(await console.field("Text").getAttribute("aria-invalid"), "true");

  await console.choose("Card JSON");
  await console.field("Adaptive Card").fill('{"type": "Something"}');
  await console.button("Send…").click();
  await console.page.locator(".field .fault").getByText("AdaptiveCard").waitFor();
  assert.equal(await console.field("Adaptive Card").getAttribute("aria-invalid"), "true");

  await console.choose("Text");
  await console.field("Text").fill("Hello");
  await console.field("Who").selectOption("team");
  await console.button("Send…").click();
  await console.page.locator(".field .fault").first().waitFor();
  assert.equal(await console.field("Team id").getAttribute("aria-invalid"), "true");
}));

test("pictures without alternative text and large cards are warned about", inConsole({}, async (console) => {
  await console.open("#/compose");
  await console.choose("Card JSON");
  const image = { type: "Image", url: "https://pictures.example/1.png" };
  const card = { type: "AdaptiveCard", version: "1.4", body: [image, { ...image, altText: "A shelf" }, { type: "TextBlock", text: "x".repeat(41_000) }] };
  await console.field("Adaptive Card").fill(JSON.stringify(card));
  await console.sees("Pictures without alternative text: 1.");
  await console.sees(/82\.\d KB as Teams counts, of about 100 KB/);
  await console.sees("The card has no fallbackText");
  // The page loads no picture, and shows what it is of.
  await console.page.locator(".picture").getByText("A shelf").waitFor();
}));

test("what is written is a draft until it is sent", inConsole({}, async (console) => {
  await console.open("#/compose/draft-1");
  await console.field("Text").fill("A draft about shelves");
  await console.page.waitForFunction(() => localStorage.getItem("herald.drafts")?.includes("shelves"));
  await console.open("#/sent");
  await console.choose("Drafts");
  await console.page.getByRole("link", { name: "A draft about shelves" }).click();
  assert.equal(await console.field("Text").inputValue(), "A draft about shelves");
  await console.open("#/sent");
  await console.choose("Drafts");
  await console.button("Delete the draft “A draft about shelves”").click();
  await console.sees("There are no drafts.");
}));

test("people, exceptions, times and options become the request that was meant", inConsole({}, async (console) => {
  await console.open("#/compose");
  const body = await console.page.evaluate(
    async ([user, tenant]) => {
      const { EMPTY_DRAFT, EMPTY_SELECTOR, requestOf, dryRunOf, scheduleOf } = await import("/console/compose-request.js");
      const form = {
        message: { ...EMPTY_DRAFT.message, text: "Hello", summary: "Hi" },
        audience: [
          { ...EMPTY_SELECTOR, kind: "users", value: `${user},\n a`, tenant },
          { ...EMPTY_SELECTOR, kind: "team", value: " 19:t ", to: "members", guests: false, scope: "personal", except: "x y" },
        ],
        when: { ...EMPTY_DRAFT.when, kind: "recipient", at: "2027-03-29T09:00", zone: "Europe/Berlin", retractAt: "r", cron: "@daily", endsAt: "e", expiresIn: "PT1H" },
        options: { ...EMPTY_DRAFT.options, category: "news", priority: "urgent" },
      };
      const moment = (text) => text && `${text}Z`;
      return { request: requestOf(form, moment), dryRun: dryRunOf(form), schedule: scheduleOf(form, moment) };
    },
    [ADA, TENANT],
  );
  const content = {
    audience: [
      { users: [ADA, "a"], tenant: TENANT },
      { team: "19:t", to: "members", guests: false, scope: "personal", except: ["x", "y"] },
    ],
    message: { text: "Hello", summary: "Hi" },
    category: "news",
    priority: "urgent",
  };
  assert.deepEqual(body.request, { ...content, deliverAt: { at: "2027-03-29T09:00", zone: "recipient", fallback: "Europe/Berlin" }, retractAt: "rZ" });
  assert.deepEqual(body.dryRun, { ...content, dryRun: true });
  assert.deepEqual(body.schedule, { cron: "@daily", zone: "Europe/Berlin", endsAt: "eZ", notification: { ...content, expiresIn: "PT1H" } });
}));

test("a card by fields is the one of the SDK", inConsole({}, async (console) => {
  const cases = JSON.parse(await readFile(`${process.env.REPOSITORY}/tests/fixtures/console/notification-card.json`, "utf8"));
  await console.open("#/compose");
  for (const { fields, message } of cases) {
    const made = await console.page.evaluate(async (fields) => {
      const { EMPTY_FIELDS } = await import("/console/card.js");
      const { messageOf } = await import("/console/compose-request.js");
      return messageOf({ kind: "notification", fields: { ...EMPTY_FIELDS, ...fields } });
    }, fields);
    assert.deepEqual(made, message);
  }
}));

test("a message that the simple forms cannot show is kept whole", inConsole({}, async (console) => {
  await console.open("#/compose");
  const [mention, card, two] = await console.page.evaluate(async () => {
    const { draftOf, messageOf } = await import("/console/compose-request.js");
    const adaptive = { contentType: "application/vnd.microsoft.card.adaptive", content: { type: "AdaptiveCard" } };
    const messages = [
      { type: "message", text: "<at>Ada</at>", entities: [{ type: "mention" }] },
      { type: "message", summary: "s", attachments: [adaptive] },
      { type: "message", text: "t", attachments: [adaptive, { contentType: "image/png", contentUrl: "u" }] },
    ];
    return messages.map((message) => messageOf(draftOf({ message, audience: { everyone: true } }).message));
  });
  assert.deepEqual(mention.entities, [{ type: "mention" }]);
  assert.equal(card.summary, "s");
  assert.deepEqual(card.attachments[0].content, { type: "AdaptiveCard" });
  assert.equal(two.attachments.length, 2);
}));

test("no text of a message becomes code or an address of the page", inConsole({}, async (console) => {
  await console.open("#/compose");
  const shown = await console.page.evaluate(async () => {
    const { htmlOf } = await import("/console/markdown.js");
    return ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](https://a.example/?b=\"c)", "**b** _i_ `<u>`\n\n- one\n- two"].map(htmlOf);
  });
  assert.deepEqual(shown, [
    "<p>&lt;img src=x onerror=alert(1)&gt;</p>",
    "<p>[x](javascript:alert(1))</p>",
    '<p><a href="https://a.example/?b=&quot;c" target="_blank" rel="noopener noreferrer">x</a></p>',
    "<p><strong>b</strong> <em>i</em> <code>&lt;u&gt;</code></p><ul><li>one</li><li>two</li></ul>",
  ]);
}));
