// The page of one notification. It leads with why it is not finished; then what became of it, and what can be done.

import { html, useEffect, useRef, useState } from "./preact.js";
import { get, segment } from "./api.js";
import { dollars, duration, number } from "./format.js";
import { Audience } from "./audience.js";
import { asProblem, Copy, Facts, Loading, Moment, ProblemNotice, Section, Sentence, Soon, State, Title, useDocument } from "./parts.js";
import { Actions } from "./notification-actions.js";
import { Deliveries } from "./notification-deliveries.js";
import { Reasons } from "./notification-reasons.js";
import { Waves } from "./notification-waves.js";
import { Message } from "./preview.js";
import { Counts } from "./progress.js";
import { t, word } from "./i18n.js";

const POLL_MS = { first: 1000, most: 15_000, factor: 1.4 };
const ENDED = ["completed", "cancelled", "confirmed", "held"];

const isRevising = ({ revised }) => revised && revised.chunksCurrent < revised.chunks;
const changes = (status) => !ENDED.includes(status.state) || isRevising(status);

// The status and the explanation, read again while something changes: ever more slowly, and not while the page is hidden.
function useNotification(id) {
  const [read, setRead] = useState({});
  const again = useRef(() => {});
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    let interval = POLL_MS.first;
    let last = "";
    const poll = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      const path = `/api/notifications/${segment(id)}`;
      const options = { signal: abort.signal };
      try {
        const [status, explanation] = await Promise.all([get(path, options), get(`${path}/explain`, options)]);
        const now = JSON.stringify([status.counts, status.state, explanation.reasons]);
        interval = now === last ? Math.min(interval * POLL_MS.factor, POLL_MS.most) : POLL_MS.first;
        last = now;
        setRead({ status, explanation });
        if (changes(status)) timer = setTimeout(poll, interval);
      } catch (error) {
        if (error.name !== "AbortError") setRead((before) => ({ ...before, problem: asProblem(error) }));
      }
    };
    again.current = () => {
      interval = POLL_MS.first;
      return poll();
    };
    const shown = () => !document.hidden && again.current();
    document.addEventListener("visibilitychange", shown);
    again.current();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [id]);
  return { ...read, reload: () => again.current() };
}

export function NotificationPage({ id }) {
  const { status, explanation, problem, reload } = useNotification(id);
  if (!status) {
    return html`<${Title}>${t("notification.title")}</${Title}>${problem ? html`<${ProblemNotice} problem=${problem} onRetry=${reload} />` : html`<${Loading} />`}`;
  }
  const title = status.subject || status.schedule || status.category;
  return html`<${Title} actions=${html`<${Actions} status=${status} onChanged=${reload} />`}>${t("notification.title")}${title ? `: ${title}` : ""}</${Title}>
    <p class="id"><${State} kind="state" value=${status.state} /> ${id} <${Copy} text=${id} /></p>
    <${ProblemNotice} problem=${problem} onRetry=${reload} />
    <${Alerts} status=${status} />
    <div class="columns even">
      <div>
        <${Reasons} status=${status} explanation=${explanation} onChanged=${reload} />
        ${["held", "confirmed"].includes(status.state) && html`<${Plan} id=${id} />`}
        <${Waves} status=${status} onChanged=${reload} />
        <${Section} title=${t("notification.counts")}><${Counts} counts=${status.counts} /><${Revision} status=${status} /></${Section}>
      </div>
      <div>
        <${Section} title=${t(status.revised?.retracted ? "notification.retracted" : "notification.message")}>
          ${status.message ? html`<${Message} message=${status.message} />` : html`<p class="empty">${t("notification.noMessage")}</p>`}
        </${Section}>
        <${Section} title=${t("notification.facts")}><${Details} status=${status} /></${Section}>
      </div>
    </div>
    <${Deliveries} id=${id} counts=${status.counts} />`;
}

// What stands in the way of the whole notification.
function Alerts({ status }) {
  const { outage, refused, warnings = [] } = status;
  return html`${outage && html`<div class="notice bad" role="alert"><p><strong>${t("notification.outage")}</strong> <code>${outage.code}</code> <${Soon} value=${outage.since} /></p><p><${Sentence} text=${outage.detail} /></p></div>`}
    ${refused && html`<div class="notice bad" role="alert"><p><strong>${t("notification.refused")}</strong> <code>${refused.code}</code> (${refused.channel})</p><p>${t("notification.refusedHint")}</p></div>`}
    ${warnings.map(({ pointer, detail }) => html`<p class="notice warn">${pointer && html`<code>${pointer.replace(/^#\//, "")}</code> `}<${Sentence} text=${detail} /></p>`)}`;
}

function Plan({ id }) {
  const { document: plan } = useDocument(`/api/notifications/${segment(id)}/plan`);
  if (!plan) return null;
  const seconds = plan.predicted?.atMostSeconds;
  return html`<${Section} title=${t("notification.plan")}>
    <${Facts} facts=${[
      ...Object.entries(plan.unreachable).filter(([, count]) => count > 0).map(([reason, count]) => [word("skip", reason), number(count)]),
      [t("plan.duration"), seconds === undefined ? undefined : t("plan.atMost", { duration: duration(seconds) })],
      [t("plan.cost"), dollars(plan.cost.usDollars)],
    ]} />
    ${plan.confirmedAs && html`<p><a href=${`#/notifications/${plan.confirmedAs}`}>${t("notification.confirmedAs")}</a></p>`}
  </${Section}>`;
}

function Revision({ status }) {
  const { revised } = status;
  if (!revised) return null;
  const { current, uneditable } = revised.copies;
  return html`<p class="hint">${t(revised.retracted ? "notification.deletedCopies" : "notification.editedCopies", { current: number(current), uneditable: number(uneditable) })}
    ${isRevising(status) && html` ${t("notification.revising", { done: number(revised.chunksCurrent), all: number(revised.chunks) })}`}</p>`;
}

function Details({ status }) {
  const { deliverAt } = status;
  const shownDeliverAt = typeof deliverAt === "object" && deliverAt ? t("notification.localTime", { at: deliverAt.at, fallback: deliverAt.fallback ?? "UTC" }) : html`<${Moment} value=${deliverAt} />`;
  return html`<${Facts} facts=${[
      [t("sent.accepted"), html`<${Moment} value=${status.acceptedAt} />`],
      [t("sent.caller"), html`<span class="id">${status.caller}</span>`],
      [t("compose.audience"), html`<${Audience} audience=${status.audience} />`],
      [t("when.deliverAt"), deliverAt && shownDeliverAt],
      [t("when.expiresAt"), html`<${Moment} value=${status.expiresAt} />`],
      [t("when.retractAt"), status.retractAt && html`<${Moment} value=${status.retractAt} />`],
      [t("notification.cancelledAt"), status.cancelledAt && html`<${Moment} value=${status.cancelledAt} />`],
      [t("notification.completedAt"), status.completedAt && html`<${Moment} value=${status.completedAt} />`],
      [t("option.category"), status.category],
      [t("option.subject"), status.subject],
      [t("notification.schedule"), status.schedule && html`<a href=${`#/schedules/${status.schedule}`}>${status.schedule}</a>`],
      [t("option.priority"), t(`option.priority.${status.priority}`)],
      [t("option.guarantee"), t(`option.guarantee.${status.guarantee}`)],
      [t("option.sendMode"), t(`option.sendMode.${status.sendMode}`)],
      [t("notification.wayOut"), status.wayOut],
    ]} />`;
}
