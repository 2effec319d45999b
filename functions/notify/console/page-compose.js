// The page "Compose": what is sent, to whom, when, and how. It is kept as a draft while it is written.

import { html, useEffect, useState } from "./preact.js";
import { get, Problem } from "./api.js";
import { dryRunOf, EMPTY_DRAFT, FormFault, messageOf, requestOf, scheduleOf } from "./compose-request.js";
import { AudienceForm } from "./form-audience.js";
import { MessageForm } from "./form-message.js";
import { WhenForm } from "./form-when.js";
import { momentOfInput } from "./format.js";
import { announce, Checkbox, Faults, ProblemNotice, Section, Select, TextField, Title, useAction } from "./parts.js";
import { Preview } from "./preview.js";
import { SendDialog } from "./send-dialog.js";
import { deleteDraft, draft as keptDraft, saveDraft } from "./store.js";
import { t } from "./i18n.js";

const SAVE_DELAY_MS = 500;

export function ComposePage({ id }) {
  const [form, setForm] = useState(() => keptDraft(id)?.form ?? EMPTY_DRAFT);
  const [sending, setSending] = useState(null);
  const { problem, setProblem } = useAction();
  const set = (change) => setForm((before) => ({ ...before, ...change }));

  useEffect(() => {
    if (form === EMPTY_DRAFT) return undefined;
    const timer = setTimeout(() => saveDraft(id, form), SAVE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [id, form]);

  const isRecurring = form.when.kind === "recurring";
  const send = (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      const dryRun = dryRunOf(form);
      setSending(isRecurring ? { dryRun, schedule: scheduleOf(form, momentOfInput), name: form.when.name.trim() } : { dryRun, request: requestOf(form, momentOfInput) });
    } catch (error) {
      setProblem(problemOfForm(error));
    }
  };
  const refused = (problem) => {
    setSending(null);
    setProblem(problem);
  };
  const sent = (path) => {
    deleteDraft(id);
    location.hash = path;
  };
  const faults = (problem?.errors ?? []).map((fault) => ({ ...fault, pointer: normal(fault.pointer) }));
  const discard = () => {
    deleteDraft(id);
    setForm(EMPTY_DRAFT);
    announce(t("compose.discarded"));
  };

  return html`<${Title}>${t("nav.compose")}</${Title}>
    <${Faults.Provider} value=${faults}>
    <form class="columns" onSubmit=${send} novalidate>
      <div>
        <${ProblemNotice} problem=${problem} />
        <${Section} title=${t("compose.message")}><${MessageForm} message=${form.message} onMessage=${(message) => set({ message })} /></${Section}>
        <${Section} title=${t("compose.audience")}><${AudienceForm} audience=${form.audience} onAudience=${(audience) => set({ audience })} /></${Section}>
        <${Section} title=${t("compose.when")}><${WhenForm} when=${form.when} onWhen=${(when) => set({ when })} /></${Section}>
        <${Section} title=${t("compose.options")}><${Options} options=${form.options} onOptions=${(options) => set({ options })} /></${Section}>
        <div class="actions"><button class="primary">${t(isRecurring ? "compose.schedule" : "compose.send")}</button>
          <button type="button" onClick=${discard}>${t("compose.discard")}</button>
          <span class="hint">${t("compose.kept")}</span></div>
      </div>
      <aside><${Section} title=${t("compose.preview")}><${PreviewOf} message=${form.message} /></${Section}></aside>
    </form>
    </${Faults.Provider}>
    ${sending && html`<${SendDialog} sending=${sending} onClose=${() => setSending(null)} onRefused=${refused} onSent=${sent} />`}`;
}

// The API names a single selector with or without its index, and a schedule's notification by its own member.
const normal = (pointer) => pointer.replace("#/notification/", "#/").replace(/^#\/audience(?!\/\d)/, "#/audience/0");

function problemOfForm(error) {
  if (!(error instanceof FormFault)) throw error;
  return new Problem({ title: t("compose.invalid"), errors: [{ pointer: error.pointer, detail: t(error.key) }] });
}

function PreviewOf({ message }) {
  try {
    return html`<${Preview} message=${messageOf(message)} />`;
  } catch (error) {
    return html`<p class="empty">${error instanceof FormFault ? t(error.key) : error.message}</p>`;
  }
}

function Options({ options, onOptions }) {
  const [categories, setCategories] = useState([]);
  useEffect(() => {
    // Callers without the right to read categories can still name one.
    get("/api/categories").then((answer) => setCategories(answer.categories), () => {});
  }, []);
  const set = (name) => (value) => onOptions({ ...options, [name]: value });
  const select = (name, values) => html`<${Select} label=${t(`option.${name}`)} pointer=${`#/${name}`} value=${options[name]} onValue=${set(name)} options=${["", ...values].map((one) => [one, t(one ? `option.${name}.${one}` : "option.default")])} />`;
  return html`<div class="row">
      <${TextField} label=${t("option.category")} hint=${categories.length > 0 ? t("option.categories", { names: categories.map(({ name }) => name).join(", ") }) : t("option.categoryHint")} pointer="#/category" value=${options.category} onValue=${set("category")} />
      ${select("priority", ["urgent", "normal", "bulk"])}
      ${select("ifNoConversation", ["skip", "create", "install"])}
    </div>
    <details><summary>${t("option.more")}</summary><div class="row">
      ${select("guarantee", ["atLeastOnce", "atMostOnce"])}
      ${select("ifUnreachable", ["leaveOut", "report"])}
      ${select("sendMode", ["individual", "batch"])}
      <${TextField} label=${t("option.subject")} hint=${t("option.subjectHint")} pointer="#/subject" value=${options.subject} onValue=${set("subject")} />
    </div><${Checkbox} label=${t("option.mandatory")} checked=${options.mandatory} onValue=${set("mandatory")} /></details>`;
}
