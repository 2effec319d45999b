// The recipients that are due later: one line for each moment, with the button that cancels it.

import { html } from "./preact.js";
import { post, segment } from "./api.js";
import { moment, number } from "./format.js";
import { announce, ConfirmButton, ProblemNotice, Section, Soon, State, Table, useAction } from "./parts.js";
import { t } from "./i18n.js";

export function Waves({ status, onChanged }) {
  const { problem, busy, run } = useAction();
  const { id, waves = [] } = status;
  if (waves.length === 0) return null;
  const cancel = (instant) =>
    run(async () => {
      await post(`/api/notifications/${segment(id)}/waves/${segment(instant)}/cancel`);
      announce(t("waves.cancelled"));
      onChanged();
    });
  const columns = [
    [t("waves.due"), ({ instant }) => html`${moment(instant)} (<${Soon} value=${instant} />)`],
    [t("sent.audience"), ({ recipients }) => number(recipients)],
    [t("sent.state"), ({ state }) => html`<${State} kind="wave" value=${state} />`],
    [t("waves.action"), ({ instant, state }) => state === "waiting" && html`<${ConfirmButton} label=${t("waves.cancel")} question=${t("waves.question")} detail=${t("waves.detail", { at: moment(instant) })} disabled=${busy} onConfirm=${() => cancel(instant)} />`],
  ];
  return html`<${Section} title=${t("waves.title")}><${ProblemNotice} problem=${problem} /><${Table} label=${t("waves.title")} columns=${columns} items=${waves} /></${Section}>`;
}
