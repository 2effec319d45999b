// The recipients of a notification by state, with reasons, and the whole report as CSV.

import { html, useEffect, useState } from "./preact.js";
import { csv, segment, withQuery } from "./api.js";
import { number } from "./format.js";
import { List, Moment, ProblemNotice, Section, Select, State, useAction, useList } from "./parts.js";
import { DELIVERY_STATES } from "./progress.js";
import { Recipient } from "./notification-reasons.js";
import { t, word } from "./i18n.js";

const PAGE = 50;

export function Deliveries({ id, counts }) {
  const [state, setState] = useState("");
  const path = `/api/notifications/${segment(id)}/deliveries`;
  const [read, setRead] = useState(counts);
  const list = useList(path, { state, limit: PAGE }, "deliveries");
  const { problem, busy, run } = useAction();
  const isStale = JSON.stringify(read) !== JSON.stringify(counts);
  const reload = () => {
    setRead(counts);
    list.reload();
  };
  // The first page follows the counts by itself. One that was read on stays where its reader is.
  useEffect(() => {
    if (isStale && list.items.length <= PAGE) reload();
  }, [isStale]);
  const download = () => run(async () => save(await csv(withQuery(path, { state, format: "csv" })), `${id}.csv`));
  const columns = [
    [t("deliveries.recipient"), (one) => html`<${Recipient} id=${one.conversation ?? one.user ?? one.account ?? one.unknownConversation ?? one.mail ?? one.upn ?? one.group ?? one.directory ?? one.manager} />`],
    [t("deliveries.person"), (one) => one.entraObjectId && html`<a class="id" href=${`#/people/${one.entraObjectId}?tenant=${one.tenant ?? ""}`}>${one.entraObjectId}</a>`],
    [t("sent.state"), (one) => html`<${State} kind="delivery" value=${one.state} />`],
    [t("deliveries.reason"), (one) => html`${one.reason && word("skip", one.reason)} ${one.code && html`<code>${one.code}</code>`} ${one.detail ?? one.why ?? ""}`],
    [t("deliveries.attempts"), (one) => number(one.attempts)],
    [t("deliveries.at"), (one) => html`<${Moment} value=${one.at ?? one.until} />`],
  ];
  const options = ["", ...DELIVERY_STATES].map((one) => [one, one ? `${word("delivery", one)} (${number(counts[one])})` : t("deliveries.all", { count: number(counts.audience) })]);
  return html`<${Section} title=${t("deliveries.title")}>
    <div class="filter">
      <${Select} label=${t("sent.state")} value=${state} onValue=${setState} options=${options} />
      <button type="button" onClick=${download} disabled=${busy}>${t(busy ? "deliveries.downloading" : "deliveries.download")}</button>
      ${isStale && html`<button type="button" onClick=${reload}>${t("deliveries.refresh")}</button>`}
    </div>
    <${ProblemNotice} problem=${problem} />
    <${List} list=${list} columns=${columns} empty=${t("deliveries.empty")} label=${t("deliveries.title")} />
  </${Section}>`;
}

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
