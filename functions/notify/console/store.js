// What the page keeps in this browser: drafts, theme, language, and requests that may have to be confirmed.

const read = (storage, key, otherwise) => {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
};
// A browser that keeps nothing (a full or forbidden storage) still serves the page.
const write = (storage, key, value) => {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch (error) {
    console.warn(`${key} is not kept: ${error.name}`);
  }
};

const SETTINGS = "herald.settings";
export const settings = () => read(localStorage, SETTINGS, {});
export const setSetting = (name, value) => write(localStorage, SETTINGS, { ...settings(), [name]: value });

const DRAFTS = "herald.drafts";
const DRAFTS_MAX = 50;
export const drafts = () => read(localStorage, DRAFTS, []);
export const draft = (id) => drafts().find((one) => one.id === id);
export function saveDraft(id, form) {
  const others = drafts().filter((one) => one.id !== id);
  write(localStorage, DRAFTS, [{ id, savedAt: new Date().toISOString(), form }, ...others].slice(0, DRAFTS_MAX));
}
export const deleteDraft = (id) => write(localStorage, DRAFTS, drafts().filter((one) => one.id !== id));

// The body of a request that is held until it is confirmed: the confirmation repeats it.
const REQUEST = "herald.request.";
export const keepRequest = (id, body) => write(sessionStorage, REQUEST + id, body);
export const keptRequest = (id) => read(sessionStorage, REQUEST + id, undefined);
