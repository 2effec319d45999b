// The part of the form that says who gets it: selectors, which are united, each with exceptions.

import { html } from "./preact.js";
import { Checkbox, Select, TextArea, TextField } from "./parts.js";
import { EMPTY_SELECTOR, SELECTORS } from "./compose-request.js";
import { t } from "./i18n.js";

const SELECTORS_MAX = 20;

export function AudienceForm({ audience, onAudience }) {
  const set = (index, change) => onAudience(audience.map((selector, at) => (at === index ? { ...selector, ...change } : selector)));
  const remove = (index) => onAudience(audience.filter((_, at) => at !== index));
  // The API names a selector by its index, also when there is one.
  return html`${audience.map(
      (selector, index) => html`<fieldset class="group"><legend>${t("audience.selector", { number: index + 1 })}</legend>
        <${SelectorForm} selector=${selector} at=${`#/audience/${index}`} onSelector=${(change) => set(index, change)} />
        ${audience.length > 1 && html`<button type="button" class="quiet" onClick=${() => remove(index)} aria-label=${t("audience.removeNumber", { number: index + 1 })}>${t("action.remove")}</button>`}
      </fieldset>`,
    )}
    ${audience.length < SELECTORS_MAX && html`<button type="button" onClick=${() => onAudience([...audience, { ...EMPTY_SELECTOR, kind: "users" }])}>${t("audience.add")}</button>`}`;
}

function SelectorForm({ selector, at, onSelector }) {
  const { kind } = selector;
  const text = (name, pointer) => ({ value: selector[name], onValue: (value) => onSelector({ [name]: value }), pointer: `${at}/${pointer ?? name}` });
  const parts = { team: ["general", "channels", "members"], groupChat: ["general", "members"] }[kind];
  const isList = ["users", "accounts", "conversations"].includes(kind);
  return html`<div class="row">
      <${Select} label=${t("audience.kind")} value=${kind} onValue=${(value) => onSelector({ kind: value, to: "general" })} options=${SELECTORS.map((one) => [one, t(`audience.${one}`)])} />
      ${kind !== "everyone" && !isList && html`<${TextField} label=${t(`audience.${kind}.value`)} ...${text("value", kind)} />`}
      ${parts && html`<${Select} label=${t("audience.to")} value=${selector.to} onValue=${(to) => onSelector({ to })} options=${parts.map((one) => [one, t(`audience.${kind}.${one}`)])} />`}
    </div>
    ${isList && html`<${TextArea} rows=${3} mono label=${t(`audience.${kind}.value`)} hint=${t("audience.listHint")} ...${text("value", kind)} />`}
    ${kind === "users" && html`<${TextField} label=${t("audience.usersTenant")} hint=${t("audience.usersTenantHint")} ...${text("tenant")} />`}
    ${kind === "channel" && html`<${TextField} label=${t("audience.thread")} hint=${t("audience.threadHint")} ...${text("thread")} />`}
    ${selector.to === "members" && html`<${Checkbox} label=${t("audience.guests")} checked=${selector.guests} onValue=${(guests) => onSelector({ guests })} />`}
    <details open=${Boolean(selector.scope || selector.except)}><summary>${t("audience.narrow")}</summary>
      <${Select} label=${t("audience.scope")} value=${selector.scope} onValue=${(scope) => onSelector({ scope })} options=${["", "personal", "groupChat", "channel"].map((one) => [one, one ? t(`scope.${one}`) : t("scope.any")])} />
      <${TextArea} rows=${2} mono label=${t("audience.except")} hint=${t("audience.exceptHint")} ...${text("except")} />
    </details>`;
}
