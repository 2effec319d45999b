// The page "People and places": the conversations of a tenant, person, team, tag or state.

import { html, useState } from "./preact.js";
import { withQuery } from "./api.js";
import { List, Moment, Select, State, TextField, Title, useList } from "./parts.js";
import { t, word } from "./i18n.js";

const KINDS = ["tenant", "user", "team", "tag", "state"];

export function PeoplePage({ query }) {
  const known = KINDS.find((kind) => query.has(kind));
  const [kind, setKind] = useState(known ?? "tenant");
  const [value, setValue] = useState(known ? query.get(known) : "");
  const list = useList(known && "/api/conversations", known ? { [known]: query.get(known), limit: 50 } : {}, "conversations");
  const search = (event) => {
    event.preventDefault();
    location.hash = withQuery("#/people", { [kind]: kind === "state" ? value || "blocked" : value.trim() });
  };
  return html`<${Title}>${t("nav.people")}</${Title}>
    <form class="filter" onSubmit=${search}>
      <${Select} label=${t("people.by")} value=${kind} onValue=${(next) => (setKind(next), setValue(""))} options=${KINDS.map((one) => [one, t(`people.by.${one}`)])} />
      ${kind === "state"
        ? html`<${Select} label=${t("sent.state")} value=${value || "blocked"} onValue=${setValue} options=${["blocked", "removed"].map((one) => [one, word("conversation", one)])} />`
        : html`<${TextField} label=${t(`people.value.${kind}`)} value=${value} onValue=${setValue} required />`}
      <button class="primary">${t("people.search")}</button>
    </form>
    ${kind === "user" && value.trim() && html`<p><a href=${`#/people/${encodeURIComponent(value.trim())}`}>${t("people.preferencesOf")}</a></p>`}
    ${known ? html`<${List} list=${list} columns=${columns()} empty=${t("people.empty")} label=${t("nav.people")} />` : html`<p class="empty">${t("people.start")}</p>`}`;
}

const columns = () => [
  [t("people.conversation"), (one) => html`<a class="id" href=${`#/conversations/${encodeURIComponent(one.conversation)}`}>${one.conversation.split("|").slice(2).join("|")}</a>`],
  [t("audience.scope"), (one) => word("scope", one.scope)],
  [t("deliveries.person"), (one) => one.user && html`<a class="id" href=${`#/people/${encodeURIComponent(one.user)}?tenant=${encodeURIComponent(one.tenant ?? "")}`}>${one.user}</a>`],
  [t("people.tags"), (one) => (one.tags ?? []).map((tag) => html`<a class="tag" href=${withQuery("#/people", { tag })}>${tag}</a> `)],
  [t("sent.state"), (one) => html`<${State} kind="conversation" value=${one.state} /> ${one.code && html`<code>${one.code}</code>`}`],
  [t("people.since"), (one) => html`<${Moment} value=${one.since} />`],
];
