// The counts of a notification: one bar of its deliveries by state, and the same as a table.

import { html } from "./preact.js";
import { number, percent } from "./format.js";
import { t, word } from "./i18n.js";

export const DELIVERY_STATES = ["delivered", "open", "unknown", "skipped", "rejected", "gone", "expired", "cancelled"];

const summary = (counts) => DELIVERY_STATES.filter((state) => counts[state] > 0).map((state) => `${number(counts[state])} ${word("delivery", state)}`).join(", ");

// A picture of the counts. `summary` says the same in words.
export function Progress({ counts }) {
  let left = 0;
  const parts = DELIVERY_STATES.filter((state) => counts[state] > 0).map((state) => {
    const width = (counts[state] / counts.audience) * 100;
    left += width;
    return html`<rect class=${`part ${state}`} x=${left - width} y="0" width=${width} height="8" />`;
  });
  return html`<svg class="progress" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=${summary(counts) || t("progress.none")}>${parts}</svg>`;
}

export function Counts({ counts }) {
  const shown = DELIVERY_STATES.filter((state) => counts[state] > 0 || ["delivered", "open"].includes(state));
  return html`<${Progress} counts=${counts} />
    <table class="counts"><caption>${t("progress.caption", { audience: number(counts.audience) })}</caption><tbody>
      ${shown.map((state) => html`<tr><th scope="row"><span class=${`key ${state}`}></span>${word("delivery", state)}</th><td>${number(counts[state])}</td><td>${counts.audience > 0 ? percent(counts[state] / counts.audience) : ""}</td></tr>`)}
    </tbody></table>`;
}
