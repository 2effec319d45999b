// The page of one person: what they opted out of, their time zone and quiet hours, their conversations, and the button that erases
// all of it.

import { html } from "./preact.js";
import { remove, segment, withQuery } from "./api.js";
import { announce, ConfirmButton, ProblemNotice, Title, useAction } from "./parts.js";
import { Preferences } from "./preferences.js";
import { t } from "./i18n.js";

export function PersonPage({ id, tenant }) {
  const path = withQuery(`/api/people/${segment(id)}/preferences`, { tenant });
  const action = useAction();
  const erase = () =>
    action.run(async () => {
      const { conversations } = await remove(`/api/users/${segment(id)}`);
      announce(t("person.erased", { count: conversations }));
      location.hash = "#/people";
    });
  return html`<${Title} actions=${html`<${ConfirmButton} label=${t("person.erase")} question=${t("person.eraseQuestion")} detail=${t("person.eraseDetail")} disabled=${action.busy} onConfirm=${erase} />`}>${t("person.title")}</${Title}>
    <p class="id">${id}</p>
    <p><a href=${withQuery("#/people", { user: id })}>${t("person.conversations")}</a></p>
    <${ProblemNotice} problem=${action.problem} />
    <${Preferences} path=${path} title=${t("person.choices")} />`;
}
