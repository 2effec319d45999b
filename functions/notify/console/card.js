// The card of a notification by fields: the same JSON as `botframework::cards::notification::NotificationCard`.

export const EMPTY_FIELDS = { title: "", result: "", triggeredBy: "", howToStop: "", actions: [] };

export function notificationCard(fields) {
  const body = [textRun(fields.title, { weight: "bolder", size: "medium" })];
  if (fields.result) body.push(textRun(fields.result));
  if (fields.triggeredBy) body.push(textRun(fields.triggeredBy, { isSubtle: true }));
  if (fields.howToStop) body.push({ ...textRun(fields.howToStop, { isSubtle: true, size: "small" }), separator: true });
  const card = { type: "AdaptiveCard", version: "1.4", fallbackText: plainText(fields), body };
  const actions = fields.actions.map(({ title, url }) => ({ type: "Action.OpenUrl", title, url }));
  return actions.length > 0 ? { ...card, actions } : card;
}

// One line, for lists and alerts: what happened and what came of it.
export const summaryOf = (fields) => (fields.result ? `${fields.title}: ${fields.result}` : fields.title);

// A paragraph. A `TextBlock` would read it as Markdown.
const textRun = (text, style = {}) => ({ type: "RichTextBlock", inlines: [{ type: "TextRun", text, ...style }] });

function plainText(fields) {
  const pages = fields.actions.map(({ title, url }) => `${title}: ${url}`);
  return [fields.title, fields.result, fields.triggeredBy, ...pages, fields.howToStop].filter(Boolean).join("\n");
}

export const ADAPTIVE_CARD = "application/vnd.microsoft.card.adaptive";

// The largest message that Teams takes, in bytes as Teams counts them: UTF-16, without pictures.
export const TEAMS_BYTES_MAX = 100_000;

export const teamsBytes = (message) => JSON.stringify(message).length * 2;

// What the toast of a client shows: the summary, else the text, else the first text of a card.
export function toastText(message) {
  const text = message.summary || message.text || firstText((message.attachments ?? []).map(({ content }) => content));
  return (text ?? "").replace(/\s+/g, " ").trim();
}

function firstText(value) {
  if (Array.isArray(value)) return value.map(firstText).find(Boolean);
  if (typeof value !== "object" || value === null) return undefined;
  if (typeof value.text === "string") return value.text;
  return Object.values(value).map(firstText).find(Boolean);
}

// What a message's author should look at before it is sent: keys of texts with their values.
export function checkMessage(message) {
  const found = [];
  const size = teamsBytes(message);
  if (size > TEAMS_BYTES_MAX) found.push(["check.tooLarge", { size, limit: TEAMS_BYTES_MAX }]);
  else if (size > TEAMS_BYTES_MAX * 0.8) found.push(["check.large", { size, limit: TEAMS_BYTES_MAX }]);
  const cards = (message.attachments ?? []).map(({ content }) => content).filter(Boolean);
  const images = elements(cards).filter(({ type }) => type === "Image");
  const unnamed = images.filter(({ altText }) => !altText).length;
  if (unnamed > 0) found.push(["check.noAltText", { count: unnamed }]);
  for (const card of cards) {
    if ((card.actions ?? []).length > 6) found.push(["check.tooManyActions", {}]);
    if (!card.fallbackText && !message.text && !message.summary) found.push(["check.noFallback", {}]);
  }
  if (!toastText(message) && cards.length > 0) found.push(["check.noToast", {}]);
  return found;
}

// Every object with a type in a card, at any depth.
function elements(value) {
  if (Array.isArray(value)) return value.flatMap(elements);
  if (typeof value !== "object" || value === null) return [];
  const below = Object.values(value).flatMap(elements);
  return typeof value.type === "string" ? [value, ...below] : below;
}
