// Hooks: addresses for tools that post to an incoming webhook. An address is shown once, and can be tried then.

import { html, useState } from "./preact.js";
import { post, put, remove, segment } from "./api.js";
import { EMPTY_SELECTOR, selectorOf } from "./compose-request.js";
import { Audience } from "./audience.js";
import { AudienceForm } from "./form-audience.js";
import { number } from "./format.js";
import { announce, ConfirmButton, Copy, Dialog, Faults, List, Moment, ProblemNotice, Section, TextField, useAction, useList } from "./parts.js";
import { t } from "./i18n.js";

export function Hooks() {
  const list = useList("/api/hooks", { limit: 50 }, "hooks");
  const [making, setMaking] = useState(false);
  const [shown, setShown] = useState(null);
  const { problem, busy, run } = useAction();
  const made = (hook) => {
    setMaking(false);
    setShown(hook);
    list.reload();
  };
  const rotate = (hook) => run(async () => made(await put(`/api/hooks/${segment(hook.id)}/secret`)));
  const erase = (hook) =>
    run(async () => {
      await remove(`/api/hooks/${segment(hook.id)}`);
      announce(t("hooks.deleted"));
      list.reload();
    });
  const columns = [
    [t("hooks.name"), ({ name }) => name],
    [t("compose.audience"), ({ audience }) => html`<${Audience} audience=${audience} />`],
    [t("option.category"), ({ category }) => category],
    [t("hooks.perMinute"), ({ perMinute }) => number(perMinute)],
    [t("hooks.createdAt"), ({ createdAt, rotatedAt }) => html`<${Moment} value=${rotatedAt ?? createdAt} />`],
    [t("waves.action"), (hook) => html`
      <${ConfirmButton} label=${t("hooks.rotate")} question=${t("hooks.rotateQuestion")} detail=${t("hooks.rotateDetail")} disabled=${busy || hook.checksGithubSignature} onConfirm=${() => rotate(hook)} />
      <${ConfirmButton} label=${t("action.delete")} question=${t("hooks.deleteQuestion")} detail=${t("hooks.deleteDetail")} disabled=${busy} onConfirm=${() => erase(hook)} />`],
  ];
  return html`<${Section} title=${t("events.hooks")}>
    <p class="hint">${t("hooks.hint")}</p>
    <${ProblemNotice} problem=${problem} />
    <p><button type="button" class="primary" onClick=${() => setMaking(true)}>${t("hooks.make")}</button></p>
    <${List} list=${list} columns=${columns} empty=${t("hooks.empty")} label=${t("events.hooks")} />
    ${making && html`<${NewHook} onClose=${() => setMaking(false)} onMade=${made} />`}
    ${shown && html`<${Address} hook=${shown} onClose=${() => setShown(null)} />`}
  </${Section}>`;
}

function NewHook({ onClose, onMade }) {
  const [name, setName] = useState("");
  const [category, setCategory] = useState("");
  const [audience, setAudience] = useState([EMPTY_SELECTOR]);
  const { problem, busy, run } = useAction();
  const make = (event) => {
    event.preventDefault();
    run(async () => onMade(await post("/api/hooks", { name, audience: audience.map(selectorOf), ...(category && { category }) })));
  };
  return html`<${Dialog} title=${t("hooks.make")} onClose=${onClose}><${Faults.Provider} value=${problem?.errors ?? []}><form onSubmit=${make}>
    <${ProblemNotice} problem=${problem} />
    <${TextField} label=${t("hooks.name")} hint=${t("hooks.nameHint")} pointer="#/name" value=${name} onValue=${setName} required />
    <${AudienceForm} audience=${audience} onAudience=${setAudience} />
    <${TextField} label=${t("option.category")} pointer="#/category" value=${category} onValue=${setCategory} />
    <div class="actions"><button type="button" onClick=${onClose}>${t("action.back")}</button><button class="primary" disabled=${busy}>${t("hooks.make")}</button></div>
  </form></${Faults.Provider}></${Dialog}>`;
}

// The one time that the address is known: it holds the secret, of which only a digest is stored.
function Address({ hook, onClose }) {
  const { problem, busy, run } = useAction();
  const [text, setText] = useState(t("hooks.sample"));
  const test = () =>
    run(async () => {
      await post(new URL(hook.url, location.href).pathname, { text });
      announce(t("hooks.tested"));
    });
  return html`<${Dialog} title=${t("hooks.address")} onClose=${onClose}>
    <p class="notice warn">${t("hooks.once")}</p>
    <p class="id">${hook.url} <${Copy} text=${hook.url} /></p>
    <${ProblemNotice} problem=${problem} />
    <div class="filter"><${TextField} label=${t("hooks.sampleLabel")} value=${text} onValue=${setText} /><button type="button" disabled=${busy} onClick=${test}>${t("hooks.test")}</button></div>
    <div class="actions"><button type="button" class="primary" onClick=${onClose}>${t("action.done")}</button></div>
  </${Dialog}>`;
}
