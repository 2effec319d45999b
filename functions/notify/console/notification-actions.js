// What can be done with a notification: confirm, cancel, edit, retract, send again.

import { html, useState } from "./preact.js";
import { post, put, remove, segment } from "./api.js";
import { draftOf, messageOf } from "./compose-request.js";
import { number } from "./format.js";
import { MessageForm } from "./form-message.js";
import { announce, asProblem, ConfirmButton, Dialog, Faults, ProblemNotice, useAction } from "./parts.js";
import { keepRequest, keptRequest, saveDraft } from "./store.js";
import { isKnown, t } from "./i18n.js";

export function Actions({ status, onChanged }) {
  const [editing, setEditing] = useState(false);
  const { problem, busy, run } = useAction();
  const { id, state, counts, sendMode, revised } = status;
  const path = `/api/notifications/${segment(id)}`;
  const change = (action, said) =>
    run(async () => {
      await action();
      announce(t(said));
      await onChanged();
    });
  const duplicate = () => {
    const draft = Date.now().toString(36);
    saveDraft(draft, draftOf(status));
    location.hash = `#/compose/${draft}`;
  };
  const canCancel = ["accepted", "planning", "held", "sending"].includes(state);
  const canRevise = !revised?.retracted && sendMode === "individual" && state !== "confirmed";
  return html`<${ProblemNotice} problem=${problem} />
    ${state === "held" && html`<${Confirm} status=${status} />`}
    <button type="button" onClick=${duplicate}>${t("actions.duplicate")}</button>
    ${canRevise && state !== "held" && html`<button type="button" onClick=${() => setEditing(true)}>${t("actions.edit")}</button>`}
    ${canCancel && html`<${ConfirmButton} label=${t("actions.cancel")} question=${t("actions.cancelQuestion")} detail=${t("actions.cancelDetail", { open: number(counts.open), delivered: number(counts.delivered) })} disabled=${busy} onConfirm=${() => change(() => post(`${path}/cancel`), "actions.cancelled")} />`}
    ${canRevise && counts.delivered > 0 && html`<${ConfirmButton} label=${t("actions.retract")} question=${t("actions.retractQuestion")} detail=${t("actions.retractDetail", { delivered: number(counts.delivered) })} disabled=${busy} onConfirm=${() => change(() => remove(`${path}/message`), "actions.retracted")} />`}
    ${editing && html`<${Edit} status=${status} path=${path} onClose=${() => setEditing(false)} onChanged=${onChanged} />`}`;
}

// A held notification is sent by the request that made it, with its id as `confirm`. The status does not show all of that request,
// so only the browser that sent it can repeat it.
function Confirm({ status }) {
  const { problem, busy, run } = useAction();
  const request = keptRequest(status.id);
  if (!request) return html`<span class="hint">${t("actions.confirmElsewhere")}</span>`;
  const confirm = () =>
    run(async () => {
      const headers = { "idempotency-key": status.id };
      const { id } = await post("/api/notifications", { ...request, confirm: status.confirm }, { headers });
      keepRequest(id, request);
      location.hash = `#/notifications/${id}`;
    });
  return html`<${ProblemNotice} problem=${problem} />
    <${ConfirmButton} tone="good" label=${t("confirm.sendTo", { count: number(status.counts.audience) })} question=${t("confirm.send")} detail=${t("actions.confirmDetail")} disabled=${busy} onConfirm=${confirm} />`;
}

function Edit({ status, path, onClose, onChanged }) {
  const [message, setMessage] = useState(() => draftOf(status).message);
  const { problem, busy, setProblem, run } = useAction();
  const save = () => {
    let edited;
    try {
      edited = messageOf(message);
    } catch (error) {
      setProblem(asProblem(isKnown(error.key) ? new Error(t(error.key)) : error));
      return;
    }
    run(async () => {
      await put(`${path}/message`, edited);
      announce(t("actions.edited"));
      onClose();
      await onChanged();
    });
  };
  // The body is the message itself.
  const faults = (problem?.errors ?? []).map((fault) => ({ ...fault, pointer: fault.pointer.replace(/^#/, "#/message") }));
  return html`<${Dialog} title=${t("actions.edit")} onClose=${onClose}>
    <${Faults.Provider} value=${faults}>
      <${ProblemNotice} problem=${problem} />
      <${MessageForm} message=${message} onMessage=${setMessage} />
    </${Faults.Provider}>
    <p class="hint">${t("actions.editDetail", { delivered: number(status.counts.delivered) })}</p>
    <div class="actions"><button type="button" onClick=${onClose}>${t("action.back")}</button><button type="button" class="primary" disabled=${busy} onClick=${save}>${t("actions.editAll")}</button></div>
  </${Dialog}>`;
}
