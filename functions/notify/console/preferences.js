// What a person, a group chat or a channel opted out of, with its time zone and quiet hours.

import { html, useEffect, useState } from "./preact.js";
import { get, put } from "./api.js";
import { Zone } from "./form-when.js";
import { announce, Choice, Faults, Loading, Moment, ProblemNotice, Section, TextField, useAction, useDocument } from "./parts.js";
import { t } from "./i18n.js";

export function Preferences({ path, title }) {
  const { document: preferences, loading, problem, reload } = useDocument(path);
  return html`<${ProblemNotice} problem=${problem} onRetry=${reload} />
    ${loading && !preferences && html`<${Loading} />`}
    ${preferences && html`<${PreferencesForm} path=${path} title=${title} preferences=${preferences} onSaved=${reload} key=${preferences.changedAt} />`}`;
}

function PreferencesForm({ path, title, preferences, onSaved }) {
  const [all, setAll] = useState(preferences.all);
  const [categories, setCategories] = useState(preferences.categories ?? {});
  const [zone, setZone] = useState(preferences.zone ?? "");
  const [quiet, setQuiet] = useState(quietFormOf(preferences));
  const { problem, busy, run } = useAction();
  const declared = useDeclared();
  const save = (event) => {
    event.preventDefault();
    run(async () => {
      await put(path, { all, categories, ...(zone.trim() && { zone: zone.trim() }), ...quietOf(quiet) });
      announce(t("person.saved"));
      onSaved();
    });
  };
  const names = [...new Set([...declared.map(({ name }) => name), ...Object.keys(categories)])];
  const choose = (name) => (value) => setCategories((before) => (value ? { ...before, [name]: value } : Object.fromEntries(Object.entries(before).filter(([one]) => one !== name))));
  const options = ["optedIn", "optedOut"].map((one) => [one, t(`preference.${one}`)]);
  return html`<${Faults.Provider} value=${problem?.errors ?? []}><form onSubmit=${save}>
    <${ProblemNotice} problem=${problem} />
    <${Section} title=${title}>
      ${preferences.changedAt ? html`<p class="hint">${t("person.changedAt")} <${Moment} value=${preferences.changedAt} /></p>` : html`<p class="hint">${t("preferences.neverChosen")}</p>`}
      <${Choice} legend=${t("person.all")} value=${all} onValue=${setAll} options=${options} />
      ${names.map((name) => html`<${Choice} legend=${t("person.category", { name: declared.find((one) => one.name === name)?.title ?? name })} value=${categories[name] ?? ""} onValue=${choose(name)} options=${[["", t("preference.asAll")], ...options]} />`)}
      ${names.length === 0 && html`<p class="hint">${t("person.noCategories")}</p>`}
    </${Section}>
    <${Section} title=${t("person.time")}>
      <${Zone} label=${t("person.zone")} hint=${t("person.zoneHint")} pointer="#/zone" value=${zone} onValue=${setZone} />
      <${Choice} legend=${t("person.quiet")} value=${quiet.kind} onValue=${(kind) => setQuiet({ ...quiet, kind })} options=${["unset", "none", "hours"].map((one) => [one, t(`person.quiet.${one}`)])} />
      ${quiet.kind === "hours" && html`<div class="row">
        <${TextField} type="time" label=${t("person.from")} pointer="#/quietHours/from" value=${quiet.from} onValue=${(from) => setQuiet({ ...quiet, from })} />
        <${TextField} type="time" label=${t("person.to")} pointer="#/quietHours/to" value=${quiet.to} onValue=${(to) => setQuiet({ ...quiet, to })} />
      </div>`}
    </${Section}>
    <div class="actions"><button class="primary" disabled=${busy}>${t("person.save")}</button></div>
  </form></${Faults.Provider}>`;
}

// Without the field no quiet hours are chosen; `null` says that none are quiet, whatever a more general choice says.
function quietFormOf({ quietHours }) {
  const hours = { from: "22:00", to: "07:00" };
  if (quietHours === undefined) return { kind: "unset", ...hours };
  return quietHours === null ? { kind: "none", ...hours } : { kind: "hours", ...quietHours };
}

const quietOf = ({ kind, from, to }) => ({ unset: {}, none: { quietHours: null }, hours: { quietHours: { from, to } } })[kind];

// The declared categories. Callers without the right to read them still see those that the person chose about.
function useDeclared() {
  const [declared, setDeclared] = useState([]);
  useEffect(() => {
    get("/api/categories").then((answer) => setDeclared(answer.categories), () => {});
  }, []);
  return declared;
}
