// Events, schedules and health.

import assert from "node:assert/strict";
import { test } from "node:test";

import { start } from "./host.mjs";

const { inConsole } = start();

test("a hook is made, its address is shown once, and a test of it arrives", inConsole({}, async (console, host) => {
  await console.open("#/events");
  await console.button("Make a hook").first().click();
  const dialog = console.page.locator("dialog");
  await dialog.getByLabel("Name").fill("alerts");
  await dialog.getByRole("button", { name: "Make a hook" }).click();
  await dialog.getByText("/api/hooks/hook_").waitFor();
  await dialog.getByLabel("Text of a test").fill("The disk is full.");
  await dialog.getByRole("button", { name: "Send a test" }).click();
  await host.says("The disk is full.");
  await dialog.getByRole("button", { name: "Done" }).click();
  await console.page.getByRole("cell", { name: "alerts" }).waitFor();
  await console.picture("events-hooks");
  await console.confirm("Delete");
  await console.sees("There are no hooks.");
}));

test("a route is made, and tried with a sample", inConsole({}, async (console, host) => {
  await console.open("#/events");
  await console.choose("Routes");
  await console.button("Make a route").click();
  await console.field("Name").fill("builds");
  await console.button("Save route").click();
  await console.button("Edit and test builds").click();
  await console.button("Test").click();
  await console.sees("The route takes this event.");
  await console.page.locator("dialog .bubble").getByText("Build 7: red").waitFor();
  await console.picture("events-route");
  await console.field("Route").fill('{"audience": {"everyone": true}}');
  await console.button("Save route").click();
  await console.page.locator("dialog").getByRole("alert").first().waitFor();
  assert.deepEqual((await host.api("GET", "/api/routes/builds")).route.pattern.source, ["ci"]);
}));

test("failed events have an empty state, and can be tried again", inConsole({}, async (console) => {
  await console.open("#/events");
  await console.choose("Failed events");
  await console.sees("No event has failed.");
  await console.confirm("Try dead-lettered events again");
  await console.sees("0 events are tried again.");
}));

test("a schedule is composed, paused, resumed, and one of its occurrences is skipped", inConsole({}, async (console, host) => {
  await console.open("#/compose");
  await console.field("Text").fill("Stand-up");
  await console.choose("Recurring");
  await console.field("Name").fill("stand-up");
  await console.field("Times (cron)").fill("0 9 * * MON-FRI");
  await console.button("Save schedule").click();
  await console.page.locator("dialog").getByText("recipients").waitFor();
  await console.page.locator("dialog").getByRole("button", { name: "Save schedule" }).click();
  await console.page.getByRole("heading", { name: "stand-up", exact: true }).waitFor();
  await console.picture("schedule-composed");
  const { next } = await host.api("GET", "/api/schedules/stand-up");
  await console.button(`Skip ${next[1]}`).click();
  await console.sees("Skipped:");
  await console.button("Pause").click();
  await console.sees("Nothing is sent until it is resumed.");
  await console.button("Resume").click();
  await console.button("Pause").waitFor();
  assert.equal((await host.api("GET", "/api/schedules/stand-up")).state, "active");

  await console.open("#/schedules");
  await console.page.getByRole("link", { name: "stand-up" }).click();
  await console.confirm("Delete");
  await console.sees("There are no schedules.");
}));

test("a wrong pattern of times is shown at its field", inConsole({}, async (console) => {
  await console.open("#/compose");
  await console.field("Text").fill("Stand-up");
  await console.choose("Recurring");
  await console.field("Name").fill("wrong");
  await console.field("Times (cron)").fill("61 9 * * *");
  await console.button("Save schedule").click();
  await console.page.locator("dialog").getByText("recipients").waitFor();
  await console.page.locator("dialog").getByRole("button", { name: "Save schedule" }).click();
  await console.page.locator(".field .fault").waitFor();
  assert.equal(await console.field("Times (cron)").getAttribute("aria-invalid"), "true");
}));

test("health says what stands in the way", inConsole({}, async (console) => {
  await console.open("#/health");
  await console.sees("Failed events: 0");
  await console.sees("Blocked: 0");
  await console.picture("health-quiet");
}));
