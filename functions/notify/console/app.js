// The frame of the page: navigation, theme, language, and which page an address shows.

import { html, render, useEffect, useState } from "./preact.js";
import { ComposePage } from "./page-compose.js";
import { ConversationPage } from "./page-conversation.js";
import { EventsPage } from "./page-events.js";
import { HealthPage } from "./page-health.js";
import { NotificationPage } from "./page-notification.js";
import { PeoplePage } from "./page-people.js";
import { PersonPage } from "./page-person.js";
import { SchedulePage, SchedulesPage } from "./page-schedules.js";
import { SentPage } from "./page-sent.js";
import { Announcer, Title } from "./parts.js";
import { chooseLanguage, currentLanguage, LANGUAGES, t } from "./i18n.js";
import { isConfigured, signOut, startSession } from "./sign-in.js";
import { setSetting, settings } from "./store.js";

// The pages by the first part of the address; those of the navigation in its order.
const NAVIGATION = ["compose", "sent", "people", "events", "schedules", "health"];
const PAGES = {
  compose: ({ rest }) => html`<${ComposePage} id=${rest[0] ?? "new"} key=${rest[0]} />`,
  sent: () => html`<${SentPage} />`,
  notifications: ({ rest }) => html`<${NotificationPage} id=${rest[0]} key=${rest[0]} />`,
  people: ({ rest, query }) => (rest[0] ? html`<${PersonPage} id=${rest[0]} tenant=${query.get("tenant") ?? ""} key=${rest[0]} />` : html`<${PeoplePage} query=${query} />`),
  conversations: ({ rest }) => html`<${ConversationPage} id=${rest[0]} key=${rest[0]} />`,
  events: () => html`<${EventsPage} />`,
  schedules: ({ rest }) => (rest[0] ? html`<${SchedulePage} name=${rest[0]} key=${rest[0]} />` : html`<${SchedulesPage} />`),
  health: () => html`<${HealthPage} />`,
};
const PART_OF = { notifications: "sent", conversations: "people" };

// `#/people/ID?tenant=T` in its parts.
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...rest] = path.split("/").map(decodeURIComponent);
  return { page: page || "compose", rest, query: new URLSearchParams(query) };
}

function App() {
  const [at, setAt] = useState(address);
  const [chosen, setChosen] = useState(settings());
  useEffect(() => {
    const update = () => {
      setAt(address());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  const choose = (name, value) => {
    setSetting(name, value);
    apply(settings());
    setChosen(settings());
  };
  const page = PAGES[at.page] ?? NotFound;
  return html`<a class="skip" href="#main" onClick=${skip}>${t("nav.skip")}</a>
    <header class="bar"><strong class="brand">Herald</strong>
      <nav aria-label=${t("nav.label")}>${NAVIGATION.map((name) => html`<a href=${`#/${name}`} aria-current=${(PART_OF[at.page] ?? at.page) === name ? "page" : undefined}>${t(`nav.${name}`)}</a>`)}</nav>
      <${Settings} chosen=${chosen} onChoose=${choose} />
    </header>
    <main id="main" key=${currentLanguage()}>${page(at)}</main>
    <${Announcer} />`;
}

// The address names the page, so the link cannot: it moves the focus instead.
function skip(event) {
  event.preventDefault();
  document.querySelector("h1")?.focus();
}

function Settings({ chosen, onChoose }) {
  const themes = ["", "light", "dark"].map((theme) => [theme, t(`theme.${theme || "system"}`)]);
  const select = (name, label, value, options) => html`<select aria-label=${label} value=${value} onChange=${(event) => onChoose(name, event.target.value)}>
    ${options.map(([one, text]) => html`<option value=${one} selected=${one === value}>${text}</option>`)}
  </select>`;
  return html`<div class="settings">
    ${select("language", t("nav.language"), currentLanguage(), Object.entries(LANGUAGES))}
    ${select("theme", t("nav.theme"), chosen.theme ?? "", themes)}
    ${isConfigured() && html`<button type="button" class="quiet" onClick=${signOut}>${t("nav.signOut")}</button>`}
  </div>`;
}

const NotFound = () => html`<${Title}>${t("notFound.title")}</${Title}><p class="empty">${t("notFound.detail")}</p>`;

function apply({ theme, language }) {
  chooseLanguage(language);
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

async function start() {
  apply(settings());
  const root = document.createElement("div");
  root.id = "app";
  document.body.append(root);
  try {
    if (await startSession()) render(html`<${App} />`, root);
  } catch (error) {
    render(html`<main><h1>${t("signIn.failed")}</h1><p>${error.message}</p><p><a href="/console">${t("action.retry")}</a></p></main>`, root);
  }
}

await start();
