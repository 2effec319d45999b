// The last question before something is sent: the audience is counted by a dry run, and shown with who is left out, how long it
// takes and what it costs.

import { html, useEffect, useState } from "./preact.js";
import { get, post, put, segment } from "./api.js";
import { dollars, duration, number } from "./format.js";
import { announce, asProblem, Dialog, Facts, Loading, Sentence } from "./parts.js";
import { keepRequest } from "./store.js";
import { t, word } from "./i18n.js";

const COUNT_INTERVAL_MS = [200, 300, 500, 1000, 2000];

// The plan of a dry run, once its whole audience is counted.
async function counted(dryRun, signal) {
  const { id } = await post("/api/notifications", dryRun, { signal });
  for (let tries = 0; ; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, COUNT_INTERVAL_MS[Math.min(tries, COUNT_INTERVAL_MS.length - 1)]));
    const plan = await get(`/api/notifications/${id}/plan`, { signal });
    if (plan.counted) return plan;
  }
}

async function accept(request, plan) {
  // A second click, or an answer that was lost, must not send twice.
  const headers = { "idempotency-key": plan.id };
  const { id } = await post("/api/notifications", { ...request, confirm: plan.id }, { headers });
  keepRequest(id, request);
  announce(t("compose.accepted"));
  return `#/notifications/${id}`;
}

async function writeSchedule(name, schedule) {
  await put(`/api/schedules/${segment(name)}`, schedule);
  announce(t("compose.scheduled"));
  return `#/schedules/${encodeURIComponent(name)}`;
}

export function SendDialog({ sending, onClose, onRefused, onSent }) {
  const { dryRun, request, schedule, name } = sending;
  const [plan, setPlan] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const abort = new AbortController();
    counted(dryRun, abort.signal).then(setPlan, (error) => error.name !== "AbortError" && onRefused(asProblem(error)));
    return () => abort.abort();
  }, []);

  const confirm = async () => {
    setBusy(true);
    try {
      onSent(await (schedule ? writeSchedule(name, schedule) : accept(request, plan)));
    } catch (error) {
      onRefused(asProblem(error));
    }
  };

  return html`<${Dialog} title=${t(schedule ? "confirm.schedule" : "confirm.send")} onClose=${onClose}>
    ${plan ? html`<${PlanFacts} plan=${plan} />` : html`<${Loading} />`}
    <div class="actions">
      <button type="button" onClick=${onClose}>${t("action.back")}</button>
      <button type="button" class="primary" disabled=${!plan || busy} onClick=${confirm}>${schedule ? t("compose.schedule") : t("confirm.sendTo", { count: plan ? number(plan.audience) : "…" })}</button>
    </div>
  </${Dialog}>`;
}

export function PlanFacts({ plan }) {
  const unreachable = Object.entries(plan.unreachable ?? {}).filter(([, count]) => count > 0);
  const { atMostSeconds } = plan.predicted ?? {};
  return html`<p class="figure"><strong>${number(plan.audience)}</strong> ${t("plan.recipients")} · <a href=${`#/notifications/${plan.id}`}>${t("plan.show")}</a></p>
    ${unreachable.length > 0 && html`<p>${t("plan.unreachable")}</p><ul>${unreachable.map(([reason, count]) => html`<li>${number(count)} ${word("skip", reason)}</li>`)}</ul>`}
    ${plan.message && !plan.message.withinLimit && html`<p class="fault">${t("plan.tooLarge")}</p>`}
    ${(plan.warnings ?? []).map((warning) => html`<p class="notice warn"><${Sentence} text=${warning.detail} /></p>`)}
    <${Facts} facts=${[
      [t("plan.duration"), atMostSeconds === undefined ? undefined : t("plan.atMost", { duration: duration(atMostSeconds) })],
      [t("plan.cost"), plan.cost && dollars(plan.cost.usDollars)],
    ]} />`;
}
