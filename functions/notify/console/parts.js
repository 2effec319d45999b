// The parts that pages are made of: fields, tables, notices, dialogs.

import { html, createContext, useContext, useEffect, useId, useLayoutEffect, useRef, useState } from "./preact.js";
import { get, Problem, withQuery } from "./api.js";
import { moment, distance } from "./format.js";
import { t, word } from "./i18n.js";

// Says something once: to the eye at the foot of the page, and to a screen reader.
let say = () => {};
export const announce = (text) => say(text);

export function Announcer() {
  const [said, setSaid] = useState("");
  useEffect(() => {
    say = setSaid;
  }, []);
  useEffect(() => {
    const timer = said && setTimeout(() => setSaid(""), 6000);
    return () => clearTimeout(timer);
  }, [said]);
  return html`<div class="announcer" role="status" aria-live="polite">${said && html`<span>${said}</span>`}</div>`;
}

// The title of a page. It gets the focus when the page is shown, so that keyboard and screen reader start there.
export function Title({ children, actions }) {
  const ref = useRef();
  const text = [children].flat().join("");
  useLayoutEffect(() => {
    document.title = `${text} · Herald`;
  }, [text]);
  useEffect(() => ref.current.focus({ preventScroll: true }), []);
  return html`<div class="title"><h1 tabindex="-1" ref=${ref}>${children}</h1>${actions && html`<div class="actions">${actions}</div>`}</div>`;
}

export const Section = ({ title, children, class: name = "" }) =>
  html`<section class=${`section ${name}`}>${title && html`<h2>${title}</h2>`}${children}</section>`;

// ---- Problems -------------------------------------------------------------------------------------------------------

// The faults of the last refusal, for the fields that they are about.
export const Faults = createContext([]);

export function useFault(pointer) {
  const faults = useContext(Faults);
  if (!pointer) return [];
  return faults.filter((fault) => fault.pointer === pointer || fault.pointer.startsWith(`${pointer}/`));
}

export function ProblemNotice({ problem, onRetry }) {
  const ref = useRef();
  useEffect(() => {
    if (problem) ref.current?.focus();
  }, [problem]);
  if (!problem) return null;
  const errors = problem.errors ?? [];
  return html`<div class="notice bad" role="alert" tabindex="-1" ref=${ref}>
    <p><strong>${problem.title && problem.title !== problem.detail ? `${problem.title}. ` : ""}</strong><${Sentence} text=${problem.detail ?? problem.message} /></p>
    ${errors.length > 0 && html`<ul>${errors.map(({ pointer, detail }) => html`<li><code>${pointer.replace(/^#\/?/, "") || t("problem.body")}</code> <${Sentence} text=${detail} /></li>`)}</ul>`}
    ${onRetry && html`<button type="button" onClick=${onRetry}>${t("action.retry")}</button>`}
  </div>`;
}

// Runs actions of a page, and keeps what is under way and why the last one failed.
export function useAction() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const run = async (action) => {
    setBusy(true);
    setProblem(null);
    try {
      return await action();
    } catch (error) {
      if (error.name !== "AbortError") setProblem(asProblem(error));
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, setProblem, run };
}

export const asProblem = (error) => (error instanceof Problem ? error : new Problem({ title: error.message }));

// ---- Lists ----------------------------------------------------------------------------------------------------------

// One answer of the API, read when the path changes.
export function useDocument(path) {
  const [state, setState] = useState({ loading: true });
  const [version, setVersion] = useState(0);
  useEffect(() => {
    if (!path) return setState({ loading: false });
    const abort = new AbortController();
    setState((before) => ({ ...before, loading: true, problem: null }));
    get(path, { signal: abort.signal }).then(
      (document) => setState({ loading: false, document }),
      (error) => error.name !== "AbortError" && setState({ loading: false, problem: asProblem(error) }),
    );
    return () => abort.abort();
  }, [path, version]);
  return { ...state, reload: () => setVersion((before) => before + 1) };
}

// A paged list, read on when asked for. `name` is the member that holds the items.
export function useList(path, parameters, name) {
  const first = path && withQuery(path, parameters);
  const [state, setState] = useState({ items: [], loading: true });
  const [version, setVersion] = useState(0);
  const read = async (cursor, signal) => {
    setState((before) => ({ ...before, loading: true, problem: null }));
    try {
      const page = await get(withQuery(path, { ...parameters, cursor }), { signal });
      setState((before) => ({ items: cursor ? [...before.items, ...page[name]] : page[name], next: page.next, loading: false }));
    } catch (error) {
      if (error.name !== "AbortError") setState((before) => ({ ...before, loading: false, problem: asProblem(error) }));
    }
  };
  useEffect(() => {
    if (!path) return setState({ items: [], loading: false });
    const abort = new AbortController();
    read(undefined, abort.signal);
    return () => abort.abort();
  }, [first, version]);
  return { ...state, more: state.next && (() => read(state.next)), reload: () => setVersion((before) => before + 1) };
}

// A list as a table, with its empty, loading and error states. `columns` are pairs of a title and a function of an item.
export function List({ list, columns, empty, label }) {
  const { items, loading, problem, more, reload } = list;
  if (problem) return html`<${ProblemNotice} problem=${problem} onRetry=${reload} />`;
  if (items.length === 0 && loading) return html`<${Loading} />`;
  if (items.length === 0 && !more) return html`<p class="empty">${empty}</p>`;
  return html`<${Table} label=${label} columns=${columns} items=${items} />
    ${more && html`<p><button type="button" onClick=${more} disabled=${loading}>${loading ? t("list.loading") : t("list.more")}</button></p>`}`;
}

export function Table({ label, columns, items }) {
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0"><table>
    <thead><tr>${columns.map(([title]) => html`<th scope="col">${title}</th>`)}</tr></thead>
    <tbody>${items.map((item) => html`<tr>${columns.map(([title, cell]) => html`<td data-label=${title}>${cell(item)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export const Loading = () => html`<p class="loading" role="status">${t("list.loading")}</p>`;

// ---- Fields ---------------------------------------------------------------------------------------------------------

// A labelled control. `children` gets the attributes that join it to its label, hint and faults.
export function Field({ label, hint, pointer, children, inline = false }) {
  const id = useId();
  const faults = useFault(pointer);
  const described = [hint && `${id}-hint`, faults.length > 0 && `${id}-fault`].filter(Boolean).join(" ");
  const attributes = { id, "aria-describedby": described || undefined, "aria-invalid": faults.length > 0 ? "true" : undefined };
  return html`<div class=${inline ? "field inline" : "field"}>
    <label for=${id}>${label}</label>
    ${children(attributes)}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${faults.length > 0 && html`<p class="fault" id=${`${id}-fault`}><${Sentence} text=${faults.map((fault) => fault.detail).join("; ")} /></p>`}
  </div>`;
}

export const TextField = ({ value, onValue, type = "text", ...field }) =>
  html`<${Field} ...${field}>${(attributes) => html`<input type=${type} value=${value} onInput=${(event) => onValue(event.target.value)} ...${attributes} required=${field.required} placeholder=${field.placeholder} />`}</${Field}>`;

export const TextArea = ({ value, onValue, rows = 4, mono = false, ...field }) =>
  html`<${Field} ...${field}>${(attributes) => html`<textarea rows=${rows} class=${mono ? "mono" : ""} spellcheck=${!mono} value=${value} onInput=${(event) => onValue(event.target.value)} ...${attributes}></textarea>`}</${Field}>`;

// `options` are pairs of a value and its text.
export const Select = ({ value, onValue, options, ...field }) =>
  html`<${Field} ...${field}>${(attributes) => html`<select value=${value} onChange=${(event) => onValue(event.target.value)} ...${attributes}>
    ${options.map(([one, text]) => html`<option value=${one} selected=${one === value}>${text}</option>`)}
  </select>`}</${Field}>`;

export function Checkbox({ label, checked, onValue }) {
  const id = useId();
  return html`<div class="check"><input type="checkbox" id=${id} checked=${checked} onChange=${(event) => onValue(event.target.checked)} /><label for=${id}>${label}</label></div>`;
}

// One of a few, side by side.
export function Choice({ legend, value, onValue, options }) {
  const name = useId();
  return html`<fieldset class="choice"><legend>${legend}</legend>${options.map(
    ([one, text]) => html`<label><input type="radio" name=${name} value=${one} checked=${one === value} onChange=${() => onValue(one)} /><span>${text}</span></label>`,
  )}</fieldset>`;
}

// ---- Small things ---------------------------------------------------------------------------------------------------

const TONES = { completed: "good", delivered: "good", active: "good", sent: "good", rejected: "bad", gone: "bad", blocked: "bad", refused: "bad", deadLettered: "bad", unknown: "warn", held: "warn", paused: "warn", retrying: "warn", optedOut: "warn" };
export const State = ({ kind, value }) => html`<span class=${`state ${TONES[value] ?? ""}`}>${word(kind, value)}</span>`;

export const Moment = ({ value }) => (value ? html`<time datetime=${value} title=${value}>${moment(value)}</time>` : null);
export const Soon = ({ value }) => html`<time datetime=${value} title=${moment(value)}>${distance(value)}</time>`;

// A sentence of the API, in which names of fields stand between backticks.
export const Sentence = ({ text }) => (text ?? "").split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part));

export function Copy({ text }) {
  const copy = () => navigator.clipboard.writeText(text).then(() => announce(t("action.copied")));
  return html`<button type="button" class="quiet" onClick=${copy}>${t("action.copy")}</button>`;
}

// A list of terms with their descriptions; those without one are left out.
export function Facts({ facts }) {
  const shown = facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html`<dl class="facts">${shown.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// ---- Dialogs --------------------------------------------------------------------------------------------------------

// A modal dialog that is open while it is rendered. The browser keeps the focus in it, and gives it back.
export function Dialog({ title, onClose, children }) {
  const ref = useRef();
  const id = useId();
  useLayoutEffect(() => ref.current.showModal(), []);
  return html`<dialog ref=${ref} aria-labelledby=${id} onClose=${onClose}><h2 id=${id}>${title}</h2>${children}</dialog>`;
}

// A button for what cannot be undone: it asks first.
export function ConfirmButton({ label, question, detail, onConfirm, tone = "bad", disabled }) {
  const [open, setOpen] = useState(false);
  const confirm = () => {
    setOpen(false);
    onConfirm();
  };
  return html`<button type="button" class=${tone} disabled=${disabled} onClick=${() => setOpen(true)}>${label}</button>
    ${open && html`<${Dialog} title=${question} onClose=${() => setOpen(false)}>
      <p>${detail}</p>
      <div class="actions"><button type="button" onClick=${() => setOpen(false)}>${t("action.back")}</button><button type="button" class=${`primary ${tone}`} onClick=${confirm}>${label}</button></div>
    </${Dialog}>`}`;
}
