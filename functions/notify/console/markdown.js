// The Markdown that Teams shows in texts and in cards: emphasis, links, code, lists. HTML in it is text.

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (one) => ESCAPES[one]);

// Only these addresses become links: a `javascript:` address would run in this page.
const LINK = /\[([^\]]+)\]\(((?:https?:\/\/|mailto:)[^\s)]+)\)/g;

function inline(text) {
  return escaped(text)
    .replace(/`([^`]+)`/g, "<code>$1</code>")
    .replace(LINK, '<a href="$2" target="_blank" rel="noopener noreferrer">$1</a>')
    .replace(/\*\*([^*]+)\*\*|__([^_]+)__/g, (_, stars, lines) => `<strong>${stars ?? lines}</strong>`)
    .replace(/(^|[^\w*])\*([^*\s][^*]*)\*|(^|[^\w_])_([^_\s][^_]*)_(?!\w)/g, (_, a, stars, b, lines) => `${a ?? b}<em>${stars ?? lines}</em>`);
}

// The HTML of a text. Everything in it that is not made here is escaped.
export function htmlOf(text) {
  const blocks = text.replace(/\r\n?/g, "\n").split(/\n{2,}/);
  return blocks.map(block).join("");
}

function block(text) {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  if (lines.length === 0) return "";
  for (const [tag, mark] of [["ul", /^\s*[-*]\s+/], ["ol", /^\s*\d+[.)]\s+/]]) {
    if (lines.every((line) => mark.test(line))) {
      const items = lines.map((line) => `<li>${inline(line.replace(mark, ""))}</li>`);
      return `<${tag}>${items.join("")}</${tag}>`;
    }
  }
  return `<p>${lines.map(inline).join("<br>")}</p>`;
}
