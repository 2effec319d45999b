// Numbers, times and sizes in the reader's language.

import { locale, t } from "./i18n.js";

export const number = (value) => new Intl.NumberFormat(locale()).format(value);

export const percent = (value) =>
  new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: 1 }).format(value);

export const dollars = (value) =>
  new Intl.NumberFormat(locale(), { style: "currency", currency: "USD", maximumFractionDigits: value < 1 ? 4 : 2 }).format(value);

export const moment = (value) =>
  value ? new Date(value).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "medium" }) : "";

// The distance of a moment from now: "in 5 minutes", "2 days ago".
export function distance(value, now = Date.now()) {
  const seconds = Math.round((new Date(value).getTime() - now) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? units[3];
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
}

export function duration(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? units[3];
  return new Intl.NumberFormat(locale(), { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 1 }).format(seconds / size);
}

export const bytes = (value) => t("unit.kilobytes", { value: new Intl.NumberFormat(locale(), { maximumFractionDigits: 1 }).format(value / 1000) });

// The value of an `<input type="datetime-local">` as a moment: in the reader's own zone.
export const momentOfInput = (value) => (value ? new Date(value).toISOString() : "");

// The reader's own zone.
export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
