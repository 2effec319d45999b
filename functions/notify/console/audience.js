// An audience in words: its selectors, each with what it is about and its exceptions.

import { html } from "./preact.js";
import { SELECTORS } from "./compose-request.js";
import { number } from "./format.js";
import { t } from "./i18n.js";

const SHOWN_MAX = 3;

export function Audience({ audience }) {
  const selectors = [audience].flat().filter(Boolean);
  return html`<ul class="plain">${selectors.map((selector) => html`<li><${Selector} selector=${selector} /></li>`)}</ul>`;
}

// A tenant is a selector of its own only where no other member is.
function Selector({ selector }) {
  const kind = SELECTORS.find((name) => name !== "tenant" && name in selector) ?? "tenant";
  const { to, scope, except = [] } = selector;
  return html`${t(`audience.${kind}`)}${kind !== "everyone" && html` <${Ids} ids=${[selector[kind]].flat()} />`}
    ${["team", "groupChat"].includes(kind) && to && html` · ${t(`audience.${kind}.${to}`)}`}
    ${scope && html` · ${t(`scope.${scope}`)}`}
    ${except.length > 0 && html` · ${t("audience.exceptThese")} <${Ids} ids=${except} />`}`;
}

function Ids({ ids }) {
  const further = ids.length - SHOWN_MAX;
  return html`${ids.slice(0, SHOWN_MAX).map((id) => html`<span class="id">${id}</span> `)}${further > 0 && t("audience.further", { count: number(further) })}`;
}
