// A local host of its own for each file of tests, and a browser that looks at its console.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, before } from "node:test";

import { chromium } from "playwright-core";

export const TENANT = "11111111-2222-4333-8444-555555555555";
export const ADA = "00000000-0000-4000-8000-00000001007e";

// Starts the host once its story is told, and stops it afterwards.
class Host {
  lines = [];
  waiting = [];

  async start() {
    const program = `${process.env.REPOSITORY}/target/debug/herald-local`;
    const options = { cwd: process.env.REPOSITORY, env: { ...process.env, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "inherit"] };
    this.process = spawn(program, ["--listen", "127.0.0.1:0"], options);
    createInterface({ input: this.process.stdout }).on("line", (line) => this.hear(line));
    await this.says("see and send");
    this.url = this.lines.map((line) => /(http:\S+)\/console/.exec(line)?.[1]).find(Boolean);
  }

  hear(line) {
    this.lines.push(line);
    this.waiting = this.waiting.filter(({ text, resolve }) => !line.includes(text) || resolve());
  }

  // The terminal shows what arrives in the local channel.
  says(text) {
    if (this.lines.some((line) => line.includes(text))) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the host never said "${text}":\n${this.lines.join("\n")}`)), 30_000);
      const found = () => {
        clearTimeout(timer);
        resolve();
      };
      this.waiting.push({ text, resolve: found });
      this.process.once("exit", () => reject(new Error(`the host ended:\n${this.lines.join("\n")}`)));
    });
  }

  async api(method, path, body) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
    return response.status === 204 ? null : response.json();
  }

  stop() {
    this.process?.removeAllListeners("exit");
    this.process?.kill("SIGINT");
  }
}

// The console of a host, in a browser. What the browser complains of fails the test.
class Console {
  complaints = [];

  constructor(page, host) {
    Object.assign(this, { page, host });
    page.setDefaultTimeout(15_000);
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message) => {
      // A refusal is an answer, which the page shows.
      const isRefusal = message.text().startsWith("Failed to load resource");
      if (["error", "warning"].includes(message.type()) && !isRefusal) this.complaints.push(message.text());
    });
  }

  // Shows a page of the console.
  async open(hash) {
    await this.page.goto("about:blank");
    await this.page.goto(`${this.host.url}/console${hash}`);
    await this.page.locator("h1").waitFor();
  }

  field = (label) => this.page.locator("input:not([type=radio]), textarea, select").and(this.page.getByLabel(label, { exact: true }));
  button = (name) => this.page.getByRole("button", { name, exact: true });
  choose = (name) => this.page.getByText(name, { exact: true }).click();
  sees = (text) => this.page.getByText(text).first().waitFor();

  // Clicks the button that asks first, and says yes.
  async confirm(name) {
    await this.button(name).first().click();
    await this.page.locator("dialog").getByRole("button", { name, exact: true }).click();
  }

  async picture(name) {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  }

  isQuiet() {
    assert.deepEqual(this.complaints, []);
  }
}

// A host and a browser for the tests of a file: `started().host`, and `started().open()` for a console.
export function start() {
  const host = new Host();
  let browser;
  before(async () => {
    await host.start();
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  });
  after(async () => {
    await browser?.close();
    host.stop();
  });
  // Runs one test in a browser context of its own.
  const inConsole = (options, run) => async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
    const console = new Console(await context.newPage(), host);
    await run(console, host);
    console.isQuiet();
    await context.close();
  };
  return { host, inConsole };
}
