// The texts of the page. Each language is one table with the same keys, which a test compares.

import en from "./text-en.js";
import de from "./text-de.js";

const TABLES = { en, de };
export const LANGUAGES = { en: "English", de: "Deutsch" };

let language = "en";

export const currentLanguage = () => language;

// The reader's own form of the language, for numbers and times: British or American, Austrian or German.
export const locale = () => navigator.languages.find((tag) => tag.startsWith(language)) ?? language;

// The language that was chosen, else the first of the browser's that there is.
export function chooseLanguage(chosen) {
  const wanted = [chosen, ...navigator.languages.map((tag) => tag.slice(0, 2))];
  language = wanted.find((tag) => Object.hasOwn(TABLES, tag)) ?? "en";
  document.documentElement.lang = language;
}

// The text of a key, with `{name}` replaced by values.
export function t(key, values = {}) {
  const text = TABLES[language][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// The text of a word of the API, such as a state or a reason. A word that the page does not know is shown as it is.
export function word(kind, value) {
  const key = `${kind}.${value}`;
  return Object.hasOwn(en, key) ? t(key) : value;
}

export const isKnown = (key) => Object.hasOwn(en, key);
