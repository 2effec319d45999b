// The preview of a message: as Teams shows it, in its list of toasts and in the chat.

import { html, useEffect, useRef, useState } from "./preact.js";
import { checkMessage, toastText } from "./card.js";
import { bytes, number } from "./format.js";
import { htmlOf } from "./markdown.js";
import { t } from "./i18n.js";

// The library is large, so it is loaded with the first card.
let library;
function adaptiveCards() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/console/vendor-adaptivecards.js";
    script.onload = () => {
      window.AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {
        result.outputHtml = htmlOf(text);
        result.didProcess = true;
      };
      resolve(window.AdaptiveCards);
    };
    script.onerror = () => {
      library = undefined;
      reject(new Error(t("preview.unavailable")));
    };
    document.head.append(script);
  });
  return library;
}

const LIGHT = { text: "#242424", subtle: "#616161", accent: "#5b5fc7", good: "#237b4b", warning: "#835c00", attention: "#c4314b", emphasis: "#f5f5f5", line: "#d1d1d1" };
const DARK = { text: "#ffffff", subtle: "#adadad", accent: "#aaaeeb", good: "#92c353", warning: "#f8d22a", attention: "#f9526b", emphasis: "#333333", line: "#525252" };

function hostConfig(colors) {
  const color = (value) => ({ default: value, subtle: value });
  const foregroundColors = {
    default: { default: colors.text, subtle: colors.subtle },
    accent: color(colors.accent),
    good: color(colors.good),
    warning: color(colors.warning),
    attention: color(colors.attention),
  };
  const style = (backgroundColor) => ({ backgroundColor, foregroundColors });
  return {
    fontFamily: '"Segoe UI", system-ui, sans-serif',
    fontSizes: { small: 12, default: 14, medium: 14, large: 18, extraLarge: 24 },
    fontWeights: { lighter: 200, default: 400, bolder: 600 },
    spacing: { small: 8, default: 12, medium: 16, large: 20, extraLarge: 24, padding: 16 },
    separator: { lineThickness: 1, lineColor: colors.line },
    supportsInteractivity: true,
    imageSizes: { small: 32, medium: 52, large: 100 },
    actions: { maxActions: 6, buttonSpacing: 8, actionsOrientation: "horizontal", actionAlignment: "left", showCard: { actionMode: "inline" } },
    containerStyles: { default: style("transparent"), emphasis: style(colors.emphasis) },
  };
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// A card is drawn anew when it changes, and when the theme does.
function Card({ content }) {
  const ref = useRef();
  const [failure, setFailure] = useState("");
  const [theme, setTheme] = useState(isDark);
  useEffect(() => {
    const update = () => setTheme(isDark());
    const media = matchMedia("(prefers-color-scheme: dark)");
    const observer = new MutationObserver(update);
    observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    media.addEventListener("change", update);
    return () => {
      observer.disconnect();
      media.removeEventListener("change", update);
    };
  }, []);
  const text = JSON.stringify(content);
  useEffect(() => {
    let isCurrent = true;
    draw(content, theme).then(
      (element) => {
        if (!isCurrent) return;
        setFailure("");
        ref.current.replaceChildren(element);
      },
      (error) => isCurrent && setFailure(error.message),
    );
    return () => {
      isCurrent = false;
    };
  }, [text, theme]);
  return html`${failure && html`<p class="fault">${failure}</p>`}<div class="card" ref=${ref}></div>`;
}

async function draw(content, dark) {
  const { AdaptiveCard, HostConfig } = await adaptiveCards();
  const card = new AdaptiveCard();
  card.hostConfig = new HostConfig(hostConfig(dark ? DARK : LIGHT));
  card.parse(withoutPictures(content));
  const element = card.render();
  if (!element) throw new Error(t("preview.notShown"));
  nameImages(element);
  return element;
}

// The page loads nothing from elsewhere: a picture is shown by its alternative text.
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
const PICTURES = ["backgroundImage", "iconUrl", "poster"];

function withoutPictures(value) {
  if (Array.isArray(value)) return value.map(withoutPictures);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([name]) => !PICTURES.includes(name));
  const copy = Object.fromEntries(kept.map(([name, one]) => [name, withoutPictures(one)]));
  return copy.type === "Image" ? { ...copy, url: BLANK } : copy;
}

function nameImages(element) {
  for (const image of element.querySelectorAll("img")) {
    const box = document.createElement("span");
    box.className = "picture";
    box.textContent = image.alt || t("preview.picture");
    image.replaceWith(box);
  }
}

function Text({ text }) {
  const ref = useRef();
  useEffect(() => {
    ref.current.innerHTML = htmlOf(text);
  }, [text]);
  return html`<div ref=${ref}></div>`;
}

export function Message({ message }) {
  const cards = (message.attachments ?? []).map(({ content }) => content).filter((content) => content?.type === "AdaptiveCard");
  return html`<div class="bubble">
    ${message.text && html`<${Text} text=${message.text} />`}
    ${cards.map((content) => html`<${Card} content=${content} />`)}
    ${!message.text && cards.length === 0 && html`<p class="empty">${t("preview.empty")}</p>`}
  </div>`;
}

export function Preview({ message }) {
  const toast = toastText(message);
  return html`<div class="preview">
    <h3>${t("preview.chat")}</h3>
    <${Message} message=${message} />
    <h3>${t("preview.toast")}</h3>
    <p class="toast">${toast || t("preview.noToast")}</p>
    <${Checks} message=${message} />
  </div>`;
}

function Checks({ message }) {
  const found = checkMessage(message).map(([key, values]) => [key, shown(values)]);
  if (found.length === 0) return null;
  return html`<ul class="checks">${found.map(([key, values]) => html`<li>${t(key, values)}</li>`)}</ul>`;
}

const shown = ({ size, limit, count }) => ({ size: size && bytes(size), limit: limit && bytes(limit), count: count && number(count) });
