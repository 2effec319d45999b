// Routes: rules from events of other systems to notifications. A route is edited as its JSON, and tried with a sample event.

import { html, useState } from "./preact.js";
import { post, put, remove, segment } from "./api.js";
import { Audience } from "./audience.js";
import { announce, ConfirmButton, Dialog, Faults, List, Moment, ProblemNotice, Section, TextArea, TextField, useAction, useList } from "./parts.js";
import { Message } from "./preview.js";
import { t } from "./i18n.js";

const NEW_ROUTE = {
  description: "",
  pattern: { source: ["ci"], detail: { state: ["red", "green"] } },
  audience: { everyone: true },
  message: { text: "Build ${detail.number}: ${detail.state}" },
};
// In the form of EventBridge: what has no id is taken for a message of SQS.
const NEW_EVENT = { id: "1", source: "ci", "detail-type": "Build", detail: { number: 7, state: "red" } };

export function Routes() {
  const list = useList("/api/routes", { limit: 50 }, "routes");
  const [open, setOpen] = useState(null);
  const { problem, busy, run } = useAction();
  const erase = (name) =>
    run(async () => {
      await remove(`/api/routes/${segment(name)}`);
      announce(t("routes.deleted"));
      list.reload();
    });
  const columns = [
    [t("routes.name"), ({ name }) => name],
    [t("routes.description"), ({ route }) => route.description],
    [t("routes.takes"), ({ route, next = [] }) => (route.schedule ? html`<code>${route.schedule.cron}</code> <${Moment} value=${next[0]} />` : (route.pattern?.source ?? []).map((source) => html`<code>${typeof source === "string" ? source : JSON.stringify(source)}</code> `))],
    [t("compose.audience"), ({ route }) => html`<${Audience} audience=${route.audience} />`],
    [t("waves.action"), (one) => html`
      <button type="button" aria-label=${t("routes.openNamed", { name: one.name })} onClick=${() => setOpen(one)}>${t("routes.open")}</button>
      <${ConfirmButton} label=${t("action.delete")} question=${t("routes.deleteQuestion", { name: one.name })} detail=${t("routes.deleteDetail")} disabled=${busy} onConfirm=${() => erase(one.name)} />`],
  ];
  const saved = () => {
    setOpen(null);
    announce(t("routes.saved"));
    list.reload();
  };
  return html`<${Section} title=${t("events.routes")}>
    <p class="hint">${t("routes.hint")}</p>
    <${ProblemNotice} problem=${problem} />
    <p><button type="button" class="primary" onClick=${() => setOpen({ name: "", route: NEW_ROUTE })}>${t("routes.make")}</button></p>
    <${List} list=${list} columns=${columns} empty=${t("routes.empty")} label=${t("events.routes")} />
    ${open && html`<${RouteDialog} existing=${open} onClose=${() => setOpen(null)} onSaved=${saved} />`}
  </${Section}>`;
}

function RouteDialog({ existing, onClose, onSaved }) {
  const isNew = existing.name === "";
  const [name, setName] = useState(existing.name);
  const [route, setRoute] = useState(JSON.stringify(existing.route, null, 2));
  const [event, setEvent] = useState(JSON.stringify(existing.route.schedule ? {} : NEW_EVENT, null, 2));
  const [trial, setTrial] = useState(null);
  const { problem, busy, run } = useAction();
  const write = () => put(`/api/routes/${segment(name.trim())}`, JSON.parse(route));
  const save = (submitted) => {
    submitted.preventDefault();
    run(async () => {
      await write();
      onSaved();
    });
  };
  const test = () => run(async () => setTrial(await post(`/api/routes/${segment(name.trim())}/test`, JSON.parse(event))));
  return html`<${Dialog} title=${isNew ? t("routes.make") : name} onClose=${onClose}><${Faults.Provider} value=${problem?.errors ?? []}><form onSubmit=${save}>
    <${ProblemNotice} problem=${problem} />
    ${isNew && html`<${TextField} label=${t("routes.name")} hint=${t("when.nameHint")} pointer="#/name" value=${name} onValue=${setName} required />`}
    <${TextArea} mono rows=${12} label=${t("routes.json")} pointer="#" value=${route} onValue=${setRoute} />
    <div class="actions"><button type="button" onClick=${onClose}>${t("action.back")}</button><button class="primary" disabled=${busy}>${t("routes.save")}</button></div>
    ${!isNew && html`<h3>${t("routes.trial")}</h3>
      <${TextArea} mono rows=${6} label=${t("routes.event")} hint=${t("routes.eventHint")} value=${event} onValue=${setEvent} />
      <p><button type="button" disabled=${busy} onClick=${test}>${t("routes.test")}</button></p>
      ${trial && html`<${Trial} trial=${trial} />`}`}
  </form></${Faults.Provider}></${Dialog}>`;
}

function Trial({ trial }) {
  const { takes, request, subject, missing = [], problem } = trial;
  return html`<div role="status"><p><strong>${t(takes ? "routes.isTaken" : "routes.isNotTaken")}</strong> ${subject && html`${t("option.subject")}: <code>${subject}</code>`}</p>
    <${ProblemNotice} problem=${problem} />
    ${missing.length > 0 && html`<p class="fault">${t("routes.missing", { paths: missing.join(", ") })}</p>`}
    ${request && html`<${Audience} audience=${request.audience} /><${Message} message=${request.message} />`}</div>`;
}
