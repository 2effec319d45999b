// Events that were refused, with their problems, and the button that tries those in the dead-letter queue again.

import { html } from "./preact.js";
import { post } from "./api.js";
import { bytes, number } from "./format.js";
import { announce, ConfirmButton, List, Moment, ProblemNotice, Section, State, useAction, useList } from "./parts.js";
import { t } from "./i18n.js";

export function FailedEvents() {
  const list = useList("/api/events/failed", { limit: 50 }, "events");
  const { problem, busy, run } = useAction();
  const redrive = () =>
    run(async () => {
      const { redriven } = await post("/api/events/failed/redrive");
      announce(t("failed.redriven", { count: number(redriven) }));
      list.reload();
    });
  const columns = [
    [t("failed.event"), (one) => html`<span class="id">${one.event}</span><br /><span class="id hint">${one.caller}</span>`],
    [t("sent.state"), (one) => html`<${State} kind="failed" value=${one.state} />`],
    [t("failed.problem"), (one) => html`${one.problem.detail}<ul>${(one.problem.errors ?? []).map(({ pointer, detail }) => html`<li><code>${pointer}</code> ${detail}</li>`)}</ul>`],
    [t("failed.receives"), (one) => number(one.receives)],
    [t("failed.lastFailedAt"), (one) => html`<${Moment} value=${one.lastFailedAt} />`],
    [t("failed.body"), (one) => (one.body ? html`<details><summary>${bytes(one.bytes)}</summary><pre tabindex="0">${one.body}</pre></details>` : bytes(one.bytes))],
  ];
  return html`<${Section} title=${t("events.failed")}>
    <p class="hint">${t("failed.hint")}</p>
    <${ProblemNotice} problem=${problem} />
    <p><${ConfirmButton} tone="good" label=${t("failed.redrive")} question=${t("failed.redriveQuestion")} detail=${t("failed.redriveDetail")} disabled=${busy} onConfirm=${redrive} /></p>
    <${List} list=${list} columns=${columns} empty=${t("failed.empty")} label=${t("events.failed")} />
  </${Section}>`;
}
