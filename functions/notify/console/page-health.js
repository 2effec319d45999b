// The page "Health": what stands in the way now, as far as the API says it. It looks at the notifications that are under way.

import { html, useEffect, useState } from "./preact.js";
import { get, segment } from "./api.js";
import { number } from "./format.js";
import { asProblem, Loading, ProblemNotice, Section, Soon, Title } from "./parts.js";
import { Rates } from "./notification-reasons.js";
import { t, word } from "./i18n.js";

// How many notifications are looked at: each takes two requests.
const EXAMINED_MAX = 10;
const PAGE = 100;

async function findings() {
  const list = (path, name) => get(path).then((page) => ({ items: page[name], isAll: !page.next }));
  const [sending, planning, failed, blocked, removed] = await Promise.all([
    list(`/api/notifications?state=sending&limit=${PAGE}`, "notifications"),
    list(`/api/notifications?state=planning&limit=${PAGE}`, "notifications"),
    list(`/api/events/failed?limit=${PAGE}`, "events"),
    list(`/api/conversations?state=blocked&limit=${PAGE}`, "conversations"),
    list(`/api/conversations?state=removed&limit=${PAGE}`, "conversations"),
  ]);
  const running = [...sending.items, ...planning.items];
  const examined = await Promise.all(
    running.slice(0, EXAMINED_MAX).map(async ({ id }) => {
      const path = `/api/notifications/${segment(id)}`;
      const [status, explanation] = await Promise.all([get(path), get(`${path}/explain`)]);
      return { status, explanation };
    }),
  );
  return { running, isAll: sending.isAll && planning.isAll, examined, failed, blocked, removed };
}

export function HealthPage() {
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  const look = () => {
    setProblem(null);
    setFound(null);
    findings().then(setFound, (error) => setProblem(asProblem(error)));
  };
  useEffect(look, []);
  return html`<${Title} actions=${html`<button type="button" onClick=${look}>${t("health.again")}</button>`}>${t("nav.health")}</${Title}>
    <${ProblemNotice} problem=${problem} onRetry=${look} />
    ${!found && !problem && html`<${Loading} />`}
    ${found && html`<${Findings} found=${found} onChanged=${look} />`}
    <p class="hint">${t("health.elsewhere")}</p>`;
}

const count = ({ items, isAll }) => (isAll ? number(items.length) : t("health.atLeast", { count: number(items.length) }));

function Findings({ found, onChanged }) {
  const { running, examined, failed, blocked, removed, isAll } = found;
  const outage = examined.map(({ status }) => status.outage).find(Boolean);
  const rates = [...new Map(examined.flatMap(({ explanation }) => explanation.rates).map((rate) => [rate.bucket, rate])).values()];
  const isHeldUp = rates.some(({ paused, lineUntil }) => paused || lineUntil);
  const deadLetters = examined.flatMap(({ status, explanation }) => explanation.reasons.filter(({ reason }) => reason === "deadLetter").map((reason) => ({ id: status.id, ...reason })));
  return html`<${Section} title=${t("health.bot")}>
      ${outage ? html`<p class="fault">${t("notification.outage")} <code>${outage.code}</code> <${Soon} value=${outage.since} /></p><p>${outage.detail}</p>` : html`<p>${t(examined.length > 0 ? "health.botSends" : "health.botIdle")}</p>`}
    </${Section}>
    <${Section} title=${t("health.rates")}>${isHeldUp ? html`<${Rates} rates=${rates} onChanged=${onChanged} />` : html`<p>${t("health.noRates")}</p>`}</${Section}>
    <${Section} title=${t("health.running")}>
      ${running.length === 0 && html`<p>${t("health.nothingRuns")}</p>`}
      <ul class="reasons">${examined.map(({ status, explanation }) => html`<li><a href=${`#/notifications/${status.id}`}>${status.subject || status.schedule || status.category || `…${status.id.slice(-8)}`}</a>
        ${" "}${t("health.open", { open: number(status.counts.open), audience: number(status.counts.audience) })}
        ${" "}${explanation.reasons.map(({ reason }) => word("reasonName", reason)).join(", ")}</li>`)}</ul>
      ${(running.length > examined.length || !isAll) && html`<p class="hint">${t("health.examined", { count: number(examined.length) })} <a href="#/sent">${t("nav.sent")}</a></p>`}
      ${deadLetters.map(({ id, deliveries, code }) => html`<p class="fault"><a href=${`#/notifications/${id}`}>…${id.slice(-8)}</a> ${number(deliveries ?? 0)} ${t("reasonName.deadLetter")} <code>${code}</code></p>`)}
    </${Section}>
    <${Section} title=${t("health.events")}><p><a href="#/events">${t("health.failedEvents", { count: count(failed) })}</a></p></${Section}>
    <${Section} title=${t("health.conversations")}><ul class="plain">
      <li><a href="#/people?state=blocked">${t("health.blocked", { count: count(blocked) })}</a></li>
      <li><a href="#/people?state=removed">${t("health.removed", { count: count(removed) })}</a></li>
    </ul></${Section}>`;
}
