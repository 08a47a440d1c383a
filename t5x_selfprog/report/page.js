// The gallery's search, the keys, the data as a file. Everything on the page is there without this script.
"use strict";

const byId = (id) => document.getElementById(id);
const cards = [...document.querySelectorAll("#cards > article")];
const controls = ["search", "iteration", "type", "order"].map(byId);
const [search, iteration, type, order] = controls;
const text = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const card of cards) {
    const shown = words.every((word) => text.get(card).includes(word))
      && (!iteration.value || card.dataset.iteration === iteration.value)
      && (!type.value || card.dataset.type === type.value);
    card.hidden = !shown;
    found += shown;
  }
  byId("found").value = found === 1 ? "1 puzzle" : `${found.toLocaleString("en")} puzzles`;
}

function sort() {
  const rate = (card) => Number(card.dataset.rate);
  const sign = { hard: 1, easy: -1 }[order.value];
  const sorted = sign ? [...cards].sort((a, b) => sign * (rate(a) - rate(b))) : cards;
  byId("cards").append(...sorted);
}

// A link to a puzzle that the filters hide clears them first.
function reveal() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target || !target.hidden) return;
  for (const control of [search, iteration, type]) control.value = "";
  filter();
  target.scrollIntoView();
}

// j and k walk through the puzzles that are shown.
function step(by) {
  const shown = [...byId("cards").children].filter((card) => !card.hidden);
  const here = shown.indexOf(document.activeElement.closest("article"));
  const next = shown[here < 0 ? 0 : Math.min(Math.max(here + by, 0), shown.length - 1)];
  if (next) next.focus();
}

if (search) {
  for (const control of [search, iteration, type]) control.addEventListener("input", filter);
  order.addEventListener("input", sort);
  search.form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === search && event.key === "Escape") {
      search.value = "";
      filter();
      search.blur();
    }
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });
}

byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([byId("data").textContent], { type: "application/json" }));
  link.download = "report.json";
  link.click();
  URL.revokeObjectURL(link.href);
});
