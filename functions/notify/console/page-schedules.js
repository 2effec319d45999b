// The pages of schedules: all of them, and one with its next and past occurrences.

import { html } from "./preact.js";
import { post, remove, segment } from "./api.js";
import { moment } from "./format.js";
import { announce, ConfirmButton, Facts, List, Loading, Moment, ProblemNotice, Section, State, Table, Title, useAction, useDocument, useList } from "./parts.js";
import { Message } from "./preview.js";
import { t } from "./i18n.js";

export function SchedulesPage() {
  const list = useList("/api/schedules", { limit: 50 }, "schedules");
  const columns = [
    [t("schedules.name"), ({ name }) => html`<a href=${`#/schedules/${encodeURIComponent(name)}`}>${name}</a>`],
    [t("sent.state"), ({ state }) => html`<${State} kind="schedule" value=${state} />`],
    [t("schedules.cron"), ({ schedule }) => html`<code>${schedule.cron}</code> ${schedule.zone ?? "UTC"}`],
    [t("schedules.next"), ({ next }) => html`<${WallTime} value=${next[0]} />`],
    [t("sent.caller"), ({ caller }) => html`<span class="id">${caller}</span>`],
  ];
  return html`<${Title} actions=${html`<a class="button primary" href=${`#/compose/${Date.now().toString(36)}`}>${t("sent.new")}</a>`}>${t("nav.schedules")}</${Title}>
    <p class="hint">${t("schedules.hint")}</p>
    <${List} list=${list} columns=${columns} empty=${t("schedules.empty")} label=${t("nav.schedules")} />`;
}

// A time on the schedule's own wall clock, as the API writes it, without its seconds.
const WallTime = ({ value }) => (value ? html`<time datetime=${value} title=${moment(value)}>${value.slice(0, 10)} ${value.slice(11, 16)}</time>` : null);

export function SchedulePage({ name }) {
  const path = `/api/schedules/${segment(name)}`;
  const { document: one, loading, problem, reload } = useDocument(path);
  const action = useAction();
  const change = (verb, said, body) =>
    action.run(async () => {
      await post(`${path}/${verb}`, body);
      announce(t(said));
      reload();
    });
  const erase = () =>
    action.run(async () => {
      await remove(path);
      announce(t("schedules.deleted"));
      location.hash = "#/schedules";
    });
  if (!one) return html`<${Title}>${name}</${Title}>${loading ? html`<${Loading} />` : html`<${ProblemNotice} problem=${problem} onRetry=${reload} />`}`;
  const { state, schedule, next, past, skipped = [] } = one;
  const buttons = html`
    ${state === "active" && html`<button type="button" disabled=${action.busy} onClick=${() => change("pause", "schedules.paused")}>${t("schedules.pause")}</button>`}
    ${state === "paused" && html`<button type="button" disabled=${action.busy} onClick=${() => change("resume", "schedules.resumed")}>${t("schedules.resume")}</button>`}
    <${ConfirmButton} label=${t("action.delete")} question=${t("schedules.deleteQuestion")} detail=${t("schedules.deleteDetail")} disabled=${action.busy} onConfirm=${erase} />`;
  const nextColumns = [
    [t("schedules.at"), (at) => html`<${WallTime} value=${at} />`],
    [t("waves.action"), (at) => html`<button type="button" class="quiet" disabled=${action.busy} aria-label=${t("schedules.skipAt", { at })} onClick=${() => change("skip", "schedules.wasSkipped", { at })}>${t("schedules.skip")}</button>`],
  ];
  const pastColumns = [
    [t("schedules.at"), ({ at }) => html`<${WallTime} value=${at} />`],
    [t("sent.state"), (one) => html`<${State} kind="occurrence" value=${one.state} />`],
    [t("schedules.outcome"), ({ notification, problem }) => (notification ? html`<a href=${`#/notifications/${notification}`}>${t("plan.show")}</a>` : problem?.detail)],
  ];
  return html`<${Title} actions=${buttons}>${name}</${Title}>
    <${ProblemNotice} problem=${action.problem} />
    <div class="columns even"><div>
      <${Section} title=${t("schedules.nextFive")}>
        ${next.length > 0 ? html`<${Table} label=${t("schedules.nextFive")} columns=${nextColumns} items=${next} />` : html`<p class="empty">${t(state === "paused" ? "schedules.isPaused" : "schedules.hasEnded")}</p>`}
        ${skipped.length > 0 && html`<p class="hint">${t("schedules.skipped", { times: skipped.map((at) => at.slice(0, 16).replace("T", " ")).join(", ") })}</p>`}
      </${Section}>
      <${Section} title=${t("schedules.past")}>${past.length > 0 ? html`<${Table} label=${t("schedules.past")} columns=${pastColumns} items=${past} />` : html`<p class="empty">${t("schedules.noPast")}</p>`}</${Section}>
    </div><div>
      <${Section} title=${t("notification.facts")}><${Facts} facts=${[
        [t("sent.state"), html`<${State} kind="schedule" value=${state} />`],
        [t("schedules.cron"), html`<code>${schedule.cron}</code> ${schedule.zone ?? "UTC"}`],
        [t("when.endsAt"), schedule.endsAt && html`<${Moment} value=${schedule.endsAt} />`],
        [t("schedules.changedAt"), html`<${Moment} value=${one.changedAt} />`],
        [t("sent.caller"), html`<span class="id">${one.caller}</span>`],
      ]} /></${Section}>
      <${Section} title=${t("notification.message")}>${schedule.notification?.message && html`<${Message} message=${schedule.notification.message} />`}
        <details><summary>${t("schedules.json")}</summary><pre tabindex="0">${JSON.stringify(schedule, null, 2)}</pre></details></${Section}>
    </div></div>`;
}
