// The page "Events": hooks for tools, routes from events to notifications, and events that were refused.

import { html, useState } from "./preact.js";
import { Choice, Title } from "./parts.js";
import { FailedEvents } from "./events-failed.js";
import { Hooks } from "./events-hooks.js";
import { Routes } from "./events-routes.js";
import { t } from "./i18n.js";

const VIEWS = { hooks: Hooks, routes: Routes, failed: FailedEvents };

export function EventsPage() {
  const [view, setView] = useState("hooks");
  return html`<${Title}>${t("nav.events")}</${Title}>
    <${Choice} legend=${t("sent.view")} value=${view} onValue=${setView} options=${Object.keys(VIEWS).map((one) => [one, t(`events.${one}`)])} />
    <${VIEWS[view]} />`;
}
