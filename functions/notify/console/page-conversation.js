// The page of one conversation: its state, its tags, what a group chat or channel opted out of, and the button that erases it.

import { html, useState } from "./preact.js";
import { put, remove, segment, withQuery } from "./api.js";
import { announce, ConfirmButton, Facts, Loading, Moment, ProblemNotice, Section, State, TextField, Title, useAction, useDocument } from "./parts.js";
import { Preferences } from "./preferences.js";
import { t, word } from "./i18n.js";

export function ConversationPage({ id }) {
  const path = `/api/conversations/${segment(id)}`;
  const { document: one, loading, problem, reload } = useDocument(path);
  const action = useAction();
  const erase = () =>
    action.run(async () => {
      await remove(path);
      announce(t("conversation.erased"));
      location.hash = "#/people";
    });
  if (!one) return html`<${Title}>${t("conversation.title")}</${Title}>${loading ? html`<${Loading} />` : html`<${ProblemNotice} problem=${problem} onRetry=${reload} />`}`;
  const link = (kind, value) => value && html`<a class="id" href=${withQuery("#/people", { [kind]: value })}>${value}</a>`;
  return html`<${Title} actions=${html`<${ConfirmButton} label=${t("conversation.erase")} question=${t("conversation.eraseQuestion")} detail=${t("conversation.eraseDetail")} disabled=${action.busy} onConfirm=${erase} />`}>${t("conversation.title")}</${Title}>
    <${ProblemNotice} problem=${action.problem} />
    <${Section}><${Facts} facts=${[
      [t("conversation.key"), html`<span class="id">${one.conversation}</span>`],
      [t("audience.scope"), word("scope", one.scope)],
      [t("sent.state"), html`<${State} kind="conversation" value=${one.state} /> ${one.code && html`<code>${one.code}</code>`}`],
      [t("people.since"), html`<${Moment} value=${one.since} />`],
      [t("people.by.tenant"), link("tenant", one.tenant)],
      [t("deliveries.person"), one.user && html`<a class="id" href=${`#/people/${encodeURIComponent(one.user)}?tenant=${encodeURIComponent(one.tenant ?? "")}`}>${one.user}</a>`],
      [t("conversation.account"), one.account],
      [t("people.by.team"), link("team", one.team)],
      [t("conversation.serviceUrls"), one.serviceUrls && html`<span class="id">${[one.serviceUrls].flat().map((url) => (typeof url === "string" ? url : url.serviceUrl ?? JSON.stringify(url))).join(", ")}</span>`],
      [t("conversation.rememberedAt"), one.rememberedAt && html`<${Moment} value=${one.rememberedAt} />`],
    ]} /></${Section}>
    <${Tags} path=${path} tags=${one.tags ?? []} onChanged=${reload} />
    ${one.scope !== "personal" && html`<${Preferences} path=${`${path}/preferences`} title=${t("conversation.choices")} />`}`;
}

function Tags({ path, tags, onChanged }) {
  const [tag, setTag] = useState("");
  const { problem, busy, run } = useAction();
  const change = (action, said) =>
    run(async () => {
      await action();
      announce(said);
      setTag("");
      onChanged();
    });
  const add = (event) => {
    event.preventDefault();
    change(() => put(`${path}/tags/${segment(tag.trim())}`), t("tags.added", { tag: tag.trim() }));
  };
  return html`<${Section} title=${t("people.tags")}>
    <${ProblemNotice} problem=${problem} />
    ${tags.length === 0 && html`<p class="empty">${t("tags.none")}</p>`}
    <ul class="tags">${tags.map((one) => html`<li><a class="tag" href=${withQuery("#/people", { tag: one })}>${one}</a> <button type="button" class="quiet" disabled=${busy} aria-label=${t("tags.remove", { tag: one })} onClick=${() => change(() => remove(`${path}/tags/${segment(one)}`), t("tags.removed", { tag: one }))}>${t("action.remove")}</button></li>`)}</ul>
    <form class="filter" onSubmit=${add}><${TextField} label=${t("tags.new")} value=${tag} onValue=${setTag} required /><button disabled=${busy || !tag.trim()}>${t("tags.add")}</button></form>
  </${Section}>`;
}
