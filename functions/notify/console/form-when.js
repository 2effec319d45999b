// The part of the form that says when it is sent, until when, and whether it recurs.

import { html } from "./preact.js";
import { Choice, Field, TextField } from "./parts.js";
import { ownZone } from "./format.js";
import { t } from "./i18n.js";

const KINDS = ["now", "moment", "zone", "recipient", "recurring"];

export function WhenForm({ when, onWhen }) {
  const set = (change) => onWhen({ ...when, ...change });
  const text = (name, pointer, rest = {}) => ({ value: when[name], onValue: (value) => set({ [name]: value }), pointer, ...rest });
  const time = { type: "datetime-local" };
  const { kind } = when;
  const choose = (next) => set({ kind: next, zone: next === "moment" ? when.zone : when.zone || ownZone() });
  return html`<${Choice} legend=${t("when.kind")} value=${kind} options=${KINDS.map((one) => [one, t(`when.${one}`)])} onValue=${choose} />
    ${kind === "moment" && html`<${TextField} label=${t("when.at")} hint=${t("when.ownZone", { zone: ownZone() })} ...${text("at", "#/deliverAt", time)} />`}
    ${(kind === "zone" || kind === "recipient") && html`<div class="row">
      <${TextField} label=${t("when.wallTime")} ...${text("at", "#/deliverAt/at", time)} />
      <${Zone} label=${t(kind === "zone" ? "when.inZone" : "when.fallback")} ...${text("zone", kind === "zone" ? "#/deliverAt/zone" : "#/deliverAt/fallback")} />
    </div>`}
    ${kind === "recurring" ? html`<${Recurring} text=${text} />` : html`<${Ends} text=${text} time=${time} />`}`;
}

// The browser's list of time zones, for those who do not know how theirs is called.
export const Zone = ({ value, onValue, ...field }) =>
  html`<${Field} ...${field}>${(attributes) => html`<input list=${`${attributes.id}-zones`} value=${value} onInput=${(event) => onValue(event.target.value)} ...${attributes} />
    <datalist id=${`${attributes.id}-zones`}>${Intl.supportedValuesOf("timeZone").map((zone) => html`<option value=${zone}></option>`)}</datalist>`}</${Field}>`;

function Recurring({ text }) {
  return html`<div class="row">
      <${TextField} label=${t("when.name")} hint=${t("when.nameHint")} ...${text("name", "#/name")} />
      <${TextField} label=${t("when.cron")} hint=${t("when.cronHint")} ...${text("cron", "#/cron")} />
      <${Zone} label=${t("when.inZone")} ...${text("zone", "#/zone")} />
    </div>
    <details><summary>${t("when.ends")}</summary><div class="row">
      <${TextField} label=${t("when.endsAt")} ...${text("endsAt", "#/endsAt", { type: "datetime-local" })} />
      <${TextField} label=${t("when.expiresIn")} hint=${t("when.durationHint")} ...${text("expiresIn", "#/expiresIn")} />
      <${TextField} label=${t("when.retractIn")} hint=${t("when.durationHint")} ...${text("retractIn", "#/retractIn")} />
    </div></details>`;
}

const Ends = ({ text, time }) => html`<details><summary>${t("when.ends")}</summary><div class="row">
  <${TextField} label=${t("when.expiresAt")} hint=${t("when.expiresAtHint")} ...${text("expiresAt", "#/expiresAt", time)} />
  <${TextField} label=${t("when.retractAt")} hint=${t("when.retractAtHint")} ...${text("retractAt", "#/retractAt", time)} />
</div></details>`;
