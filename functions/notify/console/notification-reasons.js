// Why a notification is not finished: its open deliveries by reason, when it should end, and what holds its tenants up.

import { html } from "./preact.js";
import { remove, segment } from "./api.js";
import { moment, number } from "./format.js";
import { announce, ConfirmButton, ProblemNotice, Section, Sentence, Soon, useAction } from "./parts.js";
import { isKnown, t, word } from "./i18n.js";

export function Reasons({ status, explanation, onChanged }) {
  const { open, reasons, examined, predictedFinish, retractAt, rates } = explanation;
  const isPlanning = ["accepted", "planning"].includes(status.state);
  if (open === 0 && !isPlanning) {
    return html`<${Section} class="lead" title=${t("reasons.finished")}>
      <p>${t(`reasons.${status.state === "cancelled" ? "cancelled" : "completed"}`, { audience: number(status.counts.audience) })}</p>
      ${retractAt && html`<p>${t("reasons.retractAt")} <${Soon} value=${retractAt} /></p>`}
    </${Section}>`;
  }
  return html`<${Section} class="lead" title=${t("reasons.title")}>
    <ul class="reasons">${reasons.map((reason) => html`<${Reason} reason=${reason} />`)}</ul>
    ${reasons.length === 0 && html`<p>${t(isPlanning ? "reasons.planning" : "reasons.none")}</p>`}
    ${!examined.complete && html`<p class="hint">${t("reasons.incomplete", { examined: number(examined.deliveries), open: number(open) })}</p>`}
    ${predictedFinish && html`<p><strong>${t("reasons.predicted")}</strong> <${Soon} value=${predictedFinish} /></p>`}
    ${retractAt && html`<p>${t("reasons.retractAt")} <${Soon} value=${retractAt} /></p>`}
    <${Rates} rates=${rates} onChanged=${onChanged} />
  </${Section}>`;
}

function Reason({ reason }) {
  const { reason: name, code, deliveries, detail, until, since, examples = [] } = reason;
  const sentence = isKnown(`reason.${name}`) ? t(`reason.${name}`) : html`<${Sentence} text=${detail} />`;
  return html`<li>
    <p class="figure">${deliveries !== undefined && html`<strong>${number(deliveries)}</strong> `}${word("reasonName", name)}</p>
    <p>${sentence}</p>
    <p class="hint">${code && html`<code>${code}</code> `}${since && html`${t("reasons.since", { at: moment(since) })} `}${until && html`${t("reasons.until")} <${Soon} value=${until} />`}</p>
    ${examples.length > 0 && html`<details><summary>${t("reasons.examples", { count: examples.length })}</summary><ul class="ids">${examples.map((id) => html`<li><${Recipient} id=${id} /></li>`)}</ul></details>`}
  </li>`;
}

export const Recipient = ({ id }) => (id.split("|").length > 2 ? html`<a class="id" href=${`#/conversations/${encodeURIComponent(id)}`}>${id.split("|").slice(2).join("|")}</a>` : html`<span class="id">${id}</span>`);

// Tenants that are paused or slowed down. The others are as fast as they can be, and not worth a line.
export function Rates({ rates, onChanged }) {
  const held = rates.filter(({ paused, lineUntil }) => paused || lineUntil);
  if (held.length === 0) return null;
  return html`<h3>${t("rates.title")}</h3><ul class="reasons">${held.map((rate) => html`<${Rate} rate=${rate} onChanged=${onChanged} />`)}</ul>`;
}

function Rate({ rate, onChanged }) {
  const { problem, busy, run } = useAction();
  const { bucket, tenant, paused, lineUntil, requestsPerSecond } = rate;
  const reset = () =>
    run(async () => {
      await remove(`/api/rates/${segment(bucket)}`);
      announce(t("rates.wasReset"));
      onChanged();
    });
  return html`<li><${ProblemNotice} problem=${problem} />
    <p><span class="id">${tenant ?? bucket}</span> ${t("rates.speed", { rate: number(requestsPerSecond) })}</p>
    ${paused && html`<p class="fault">${t("rates.paused")} <code>${paused.code}</code> <${Soon} value=${paused.until} /></p>`}
    ${lineUntil && html`<p class="hint">${t("rates.line")} <${Soon} value=${lineUntil} /></p>`}
    ${paused && html`<${ConfirmButton} label=${t("rates.reset")} question=${t("rates.resetQuestion")} detail=${t("rates.resetDetail")} disabled=${busy} onConfirm=${reset} />`}
  </li>`;
}
