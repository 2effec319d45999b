// The page "Sent": notifications, newest first, and the drafts of this browser.

import { html, useState } from "./preact.js";
import { number } from "./format.js";
import { Choice, List, Moment, Section, Select, Soon, State, Table, TextField, Title, useList } from "./parts.js";
import { Progress } from "./progress.js";
import { deleteDraft, drafts } from "./store.js";
import { t, word } from "./i18n.js";

const STATES = ["accepted", "planning", "held", "confirmed", "sending", "cancelling", "cancelled", "completed"];

export function SentPage() {
  const [view, setView] = useState("notifications");
  const compose = html`<a class="button primary" href=${`#/compose/${Date.now().toString(36)}`}>${t("sent.new")}</a>`;
  return html`<${Title} actions=${compose}>${t("nav.sent")}</${Title}>
    <${Choice} legend=${t("sent.view")} value=${view} onValue=${setView} options=${["notifications", "drafts"].map((one) => [one, t(`sent.${one}`)])} />
    ${view === "drafts" ? html`<${Drafts} />` : html`<${Notifications} />`}`;
}

function Notifications() {
  const [typed, setTyped] = useState({ state: "", category: "", caller: "" });
  const [filter, setFilter] = useState(typed);
  const list = useList("/api/notifications", { ...filter, limit: 50 }, "notifications");
  const set = (name) => (value) => setTyped({ ...typed, [name]: value });
  const apply = (event) => {
    event.preventDefault();
    setFilter(typed);
  };
  const columns = [
    [t("sent.what"), (one) => html`<a href=${`#/notifications/${one.id}`}>${one.subject || one.schedule || one.category || short(one.id)}</a>`],
    [t("sent.state"), (one) => html`<${State} kind="state" value=${one.state} /> ${isScheduled(one) && html`<${Soon} value=${one.deliverAt} />`}`],
    [t("sent.audience"), (one) => number(one.counts.audience)],
    [t("sent.progress"), (one) => html`<${Progress} counts=${one.counts} />`],
    [t("sent.accepted"), (one) => html`<${Moment} value=${one.acceptedAt} />`],
    [t("sent.caller"), (one) => html`<span class="id">${one.caller}</span>`],
  ];
  return html`<form class="filter" onSubmit=${apply}>
      <${Select} label=${t("sent.state")} value=${typed.state} onValue=${set("state")} options=${["", ...STATES].map((one) => [one, one ? word("state", one) : t("sent.anyState")])} />
      <${TextField} label=${t("option.category")} value=${typed.category} onValue=${set("category")} />
      <${TextField} label=${t("sent.caller")} value=${typed.caller} onValue=${set("caller")} />
      <button>${t("action.filter")}</button>
    </form>
    <${List} list=${list} columns=${columns} empty=${t("sent.empty")} label=${t("sent.notifications")} />`;
}

const short = (id) => `…${id.slice(-8)}`;
const isScheduled = ({ state, deliverAt }) => ["accepted", "planning", "sending"].includes(state) && typeof deliverAt === "string" && new Date(deliverAt) > new Date();

function Drafts() {
  const [kept, setKept] = useState(drafts());
  const remove = (id) => {
    deleteDraft(id);
    setKept(drafts());
  };
  const columns = [
    [t("sent.what"), ({ id, form }) => html`<a href=${`#/compose/${id}`}>${titleOf(form.message)}</a>`],
    [t("sent.saved"), ({ savedAt }) => html`<${Moment} value=${savedAt} />`],
    [t("sent.delete"), ({ id, form }) => html`<button type="button" class="quiet" aria-label=${t("sent.deleteDraft", { title: titleOf(form.message) })} onClick=${() => remove(id)}>${t("action.delete")}</button>`],
  ];
  if (kept.length === 0) return html`<p class="empty">${t("sent.noDrafts")}</p>`;
  return html`<${Section}><p class="hint">${t("sent.draftsHint")}</p><${Table} label=${t("sent.drafts")} columns=${columns} items=${kept} /></${Section}>`;
}

const titleOf = (message) => (message.kind === "notification" ? message.fields.title : message.summary || message.text).slice(0, 80) || t("sent.untitled");
