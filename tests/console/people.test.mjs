// People and places: conversations are found and tagged, an opt-out is chosen and seen, a person is erased.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ADA, start, TENANT } from "./host.mjs";

const { inConsole } = start();

test("conversations are found, and a tag is added and removed", inConsole({}, async (console) => {
  await console.open("#/people");
  await console.field("Tenant id").fill(TENANT);
  await console.button("Find").click();
  await console.page.getByRole("link", { name: ADA }).waitFor();
  await console.picture("people-found");
  await console.page.getByRole("link", { name: "19:library@thread.tacv2" }).click();
  await console.field("New tag").fill("Reading  Room");
  await console.button("Add tag").click();
  // A tag has one form everywhere.
  await console.button("Remove the tag reading room").waitFor();
  await console.picture("conversation-tagged");
  await console.button("Remove the tag reading room").click();
  await console.sees("It has no tags.");
}));

test("an opt-out is chosen, and seen as the reason why a person gets nothing", inConsole({}, async (console, host) => {
  await host.api("PUT", "/api/categories/outages", { title: "Outages" });
  await console.open(`#/people/${ADA}?tenant=${TENANT}`);
  await console.sees("Nothing was chosen yet.");
  await console.page.getByRole("group", { name: "Category Outages" }).getByText("Opted out").click();
  await console.field("Time zone").fill("Europe/Berlin");
  await console.page.getByText("Each day", { exact: true }).click();
  await console.button("Save").click();
  await console.sees("The preferences are saved.");
  await console.picture("person-saved");
  const chosen = await host.api("GET", `/api/people/${ADA}/preferences?tenant=${TENANT}`);
  assert.deepEqual([chosen.categories, chosen.zone, chosen.quietHours], [{ outages: "optedOut" }, "Europe/Berlin", { from: "22:00", to: "07:00" }]);

  const { id } = await host.api("POST", "/api/notifications", { audience: { users: [ADA], tenant: TENANT }, message: { text: "The lift is broken." }, category: "outages" });
  await console.open(`#/notifications/${id}`);
  await console.sees("Every delivery to its 1 recipients has ended.");
  await console.page.locator("td").getByText("Opted out").waitFor();
  await console.page.locator("td").getByText("Skipped").waitFor();
}));

test("a channel has choices of its own", inConsole({}, async (console, host) => {
  const { conversations } = await host.api("GET", `/api/conversations?team=${encodeURIComponent("19:library@thread.tacv2")}`);
  const key = encodeURIComponent(conversations.find(({ scope }) => scope === "channel").conversation);
  await console.open(`#/conversations/${key}`);
  await console.page.getByRole("group", { name: "Notifications in general" }).getByText("Opted out").click();
  await console.button("Save").click();
  await console.sees("The preferences are saved.");
  assert.equal((await host.api("GET", `/api/conversations/${key}/preferences`)).all, "optedOut");
}));

test("wrong preferences are shown at their field", inConsole({}, async (console) => {
  await console.open(`#/people/${ADA}?tenant=${TENANT}`);
  await console.field("Time zone").fill("Berlin");
  await console.button("Save").click();
  await console.page.locator(".field .fault").waitFor();
  assert.equal(await console.field("Time zone").getAttribute("aria-invalid"), "true");
}));

test("a person is erased after a question", inConsole({}, async (console, host) => {
  const grace = (await host.api("GET", `/api/conversations?tenant=${TENANT}`)).conversations.map(({ user }) => user).find((user) => user && user !== ADA);
  await console.open(`#/people/${grace}?tenant=${TENANT}`);
  await console.button("Erase person").click();
  await console.button("Back").click();
  assert.equal((await host.api("GET", `/api/conversations?user=${grace}`)).conversations.length, 1);
  await console.confirm("Erase person");
  await console.sees("The person is erased, with 1 conversations.");
  assert.equal((await host.api("GET", `/api/conversations?user=${grace}`)).conversations.length, 0);
}));
