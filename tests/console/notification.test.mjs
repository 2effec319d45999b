// One notification: why it is not finished comes first; it is cancelled, edited, deleted, reported and sent again.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { ADA, start, TENANT } from "./host.mjs";

const { host, inConsole } = start();

const everyone = { audience: { everyone: true } };

async function accepted(body) {
  const { id } = await host.api("POST", "/api/notifications", body);
  return id;
}

test("one that waits for its time says so first, and is cancelled", inConsole({}, async (console) => {
  const id = await accepted({ ...everyone, message: { text: "Good morning" }, deliverAt: new Date(Date.now() + 86_400_000).toISOString() });
  await console.open(`#/notifications/${id}`);
  const first = console.page.locator("main .section").first();
  await first.getByText("Why it is not finished").waitFor();
  await console.picture("notification-scheduled");
  await console.confirm("Cancel sending");
  await first.getByText("It was cancelled").waitFor();
  assert.equal((await host.api("GET", `/api/notifications/${id}`)).state, "cancelled");
}));

test("waiting recipients are shown by reason, with examples", inConsole({}, async (console) => {
  const id = await accepted({ ...everyone, message: { text: "At noon" }, dryRun: true });
  await console.open(`#/notifications/${id}`);
  await console.sees("The notification is held until it is confirmed.");
  await console.page.getByText("Examples (5)").click();
  await console.page.locator(".reasons").getByText("19:library@thread.tacv2").waitFor();
  await console.page.getByRole("heading", { name: "Plan" }).waitFor();
  await console.picture("notification-held");
}));

test("an edit changes every copy, and a deletion removes it", inConsole({}, async (console) => {
  const id = await accepted({ audience: { users: [ADA], tenant: TENANT }, message: { text: "The lift is out of order." } });
  await console.open(`#/notifications/${id}`);
  await console.sees("Every delivery to its 1 recipients has ended.");
  await console.button("Edit message").click();
  await console.field("Text").fill("The lift works again.");
  await console.button("Edit every copy").click();
  await host.says("The lift works again.");
  await console.page.locator(".bubble").getByText("The lift works again.").waitFor();
  await console.sees("Edited: 1 copies show the present message");

  await console.confirm("Delete every copy");
  await console.sees("Its copies are deleted.");
  await host.says("deleted");
}));

test("the report is downloaded whole", inConsole({}, async (console) => {
  const id = await accepted({ ...everyone, message: { text: "A report" } });
  await console.open(`#/notifications/${id}`);
  await console.sees("Every delivery to its 5 recipients has ended.");
  const [download] = await Promise.all([console.page.waitForEvent("download"), console.button("Download CSV").click()]);
  assert.equal(download.suggestedFilename(), `${id}.csv`);
  const lines = (await readFile(await download.path(), "utf8")).trim().split("\r\n");
  assert.match(lines[0], /^recipient,kind,/);
  assert.equal(lines.length, 6);
}));

test("one that is sent again is a new one with the same content", inConsole({}, async (console) => {
  const id = await accepted({ audience: { tag: "on-call" }, message: { text: "Once more" }, category: "shelves", priority: "urgent" });
  await console.open(`#/notifications/${id}`);
  await console.sees("has ended.");
  await console.button("Duplicate").click();
  await console.page.getByRole("heading", { name: "Compose" }).waitFor();
  assert.equal(await console.field("Text").inputValue(), "Once more");
  assert.equal(await console.field("Category").inputValue(), "shelves");
  assert.equal(await console.field("Priority").inputValue(), "urgent");
  await console.button("Send…").click();
  await console.button("Send to 1").click();
  await console.page.waitForURL((url) => url.hash.startsWith("#/notifications/") && !url.hash.endsWith(id));
}));

test("the list shows states and progress, filtered", inConsole({}, async (console) => {
  const id = await accepted({ ...everyone, message: { text: "Listed" }, category: "listed", dryRun: true });
  await console.open("#/sent");
  // A new notification is listed after about a second.
  await assert.doesNotReject(async () => {
    const link = console.page.getByRole("link", { name: "listed" });
    for (let tries = 0; tries < 20 && (await link.count()) === 0; tries += 1) {
      await console.field("State").selectOption("held");
      await console.button("Filter").click();
      await link.first().waitFor({ timeout: 500 }).catch(() => {});
    }
    await link.first().click();
  });
  await console.page.waitForURL((url) => url.hash === `#/notifications/${id}`);
}));

test("an unknown id is a problem that can be tried again", inConsole({}, async (console) => {
  await console.open("#/notifications/ntf_nothing");
  await console.page.getByRole("alert").getByText("No notification has this id.").waitFor();
  await console.button("Try again").click();
  await console.page.getByRole("alert").waitFor();
}));
