// The part of the form that says what is sent: a text, a notification card by its fields, the JSON of a card, or that of an activity.

import { html } from "./preact.js";
import { EMPTY_FIELDS } from "./card.js";
import { Choice, TextArea, TextField } from "./parts.js";
import { t } from "./i18n.js";

export function MessageForm({ message, onMessage }) {
  const set = (change) => onMessage({ ...message, ...change });
  const kinds = ["text", "notification", "card", "activity"].map((kind) => [kind, t(`message.${kind}`)]);
  return html`<${Choice} legend=${t("message.kind")} value=${message.kind} options=${kinds} onValue=${(kind) => set({ kind })} />
    ${message.kind === "text" && html`<${TextArea} label=${t("message.text")} hint=${t("message.textHint")} pointer="#/message" value=${message.text} onValue=${(text) => set({ text })} />`}
    ${message.kind === "notification" && html`<${NotificationFields} fields=${message.fields} onFields=${(fields) => set({ fields })} />`}
    ${message.kind === "card" && html`<${TextArea} mono rows=${12} label=${t("message.cardJson")} hint=${t("message.cardHint")} pointer="#/message/attachments" value=${message.card} onValue=${(card) => set({ card })} />`}
    ${message.kind === "activity" && html`<${TextArea} mono rows=${12} label=${t("message.activityJson")} hint=${t("message.activityHint")} pointer="#/message" value=${message.activity} onValue=${(activity) => set({ activity })} />`}
    ${["text", "card"].includes(message.kind) && html`<${TextField} label=${t("message.summary")} hint=${t("message.summaryHint")} pointer="#/message/summary" value=${message.summary} onValue=${(summary) => set({ summary })} />`}`;
}

function NotificationFields({ fields, onFields }) {
  const set = (change) => onFields({ ...EMPTY_FIELDS, ...fields, ...change });
  const setAction = (index, change) => set({ actions: fields.actions.map((action, at) => (at === index ? { ...action, ...change } : action)) });
  const field = (name) => html`<${TextField} label=${t(`card.${name}`)} value=${fields[name]} onValue=${(value) => set({ [name]: value })} />`;
  return html`${["title", "result", "triggeredBy", "howToStop"].map(field)}
    <fieldset class="group"><legend>${t("card.actions")}</legend>
      ${fields.actions.map(
        (action, index) => html`<div class="row">
          <${TextField} label=${t("card.actionTitle")} value=${action.title} onValue=${(title) => setAction(index, { title })} />
          <${TextField} type="url" label=${t("card.actionUrl")} value=${action.url} onValue=${(url) => setAction(index, { url })} />
          <button type="button" class="quiet" aria-label=${t("card.removeAction", { number: index + 1 })} onClick=${() => set({ actions: fields.actions.filter((_, at) => at !== index) })}>${t("action.remove")}</button>
        </div>`,
      )}
      ${fields.actions.length < 6 && html`<button type="button" onClick=${() => set({ actions: [...fields.actions, { title: "", url: "https://" }] })}>${t("card.addAction")}</button>`}
    </fieldset>`;
}
