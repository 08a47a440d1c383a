// The gallery's search, the keys, plots and data as files. Everything on the page is there without this script.
"use strict";

const byId = (id) => document.getElementById(id);
const cards = [...document.querySelectorAll("#cards > article")];
const controls = ["search", "iteration", "type", "order"].map(byId);
const [search, iteration, type, order] = controls;
const text = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));

const PAGE = 30; // cards at a time: more are slow to lay out, and nobody scrolls through them
let first = 0; // of those that fit, the one that is shown first

function filter() {
  first = 0;
  show();
}

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const card of byId("cards").children) {
    const fits = words.every((word) => text.get(card).includes(word))
      && (!iteration.value || card.dataset.iteration === iteration.value)
      && (!type.value || card.dataset.type === type.value);
    card.hidden = !fits || found < first || found >= first + PAGE;
    found += fits;
  }
  byId("found").value = found === 1 ? "1 puzzle" : `${found.toLocaleString("en")} puzzles`;
  byId("pages").hidden = found <= PAGE;
  byId("earlier").disabled = first === 0;
  byId("later").disabled = first + PAGE >= found;
  byId("place").value = `${first + 1} to ${Math.min(first + PAGE, found)} of ${found.toLocaleString("en")}`;
}

function turn(by) {
  first += by * PAGE;
  show();
  search.form.scrollIntoView();
}

function sort() {
  const rate = (card) => Number(card.dataset.rate);
  const sign = { hard: 1, easy: -1 }[order.value];
  const sorted = sign ? [...cards].sort((a, b) => sign * (rate(a) - rate(b))) : cards;
  byId("cards").append(...sorted);
  filter();
}

// A link to a puzzle that the filters hide clears them first.
function reveal() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const folded = target.closest("details:not([open])");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
  if (!target.hidden) return;
  for (const control of [search, iteration, type]) control.value = "";
  const place = [...byId("cards").children].indexOf(target);
  first = Math.max(0, place - place % PAGE);
  show();
  target.scrollIntoView();
}

// j and k walk through the puzzles that are shown, and from page to page.
function step(by) {
  const shown = [...byId("cards").children].filter((card) => !card.hidden);
  const here = shown.indexOf(document.activeElement.closest("article"));
  const onward = byId(by > 0 ? "later" : "earlier");
  if (here >= 0 && (here + by < 0 || here + by >= shown.length) && !byId("pages").hidden && !onward.disabled) {
    turn(by);
    const now = [...byId("cards").children].filter((card) => !card.hidden);
    now[by > 0 ? 0 : now.length - 1].focus();
    return;
  }
  const next = shown[here < 0 ? 0 : Math.min(Math.max(here + by, 0), shown.length - 1)];
  if (next) next.focus();
}

if (search) {
  for (const control of [search, iteration, type]) control.addEventListener("input", filter);
  order.addEventListener("input", sort);
  byId("earlier").addEventListener("click", () => turn(-1));
  byId("later").addEventListener("click", () => turn(1));
  show();
  search.form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  reveal();
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

// The held-out problems: words, and who solved them.
const problems = [...document.querySelectorAll("#problem-list > details")];
const [words, solved] = ["problem-search", "problem-solved"].map(byId);

function choose() {
  const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const arms = document.querySelector("#problem-list .dots")?.children.length ?? 0;
  let found = 0;
  for (const problem of problems) {
    const by = problem.dataset.solved.split(" ").filter(Boolean);
    const fits = {
      "": true, none: !by.length, some: by.length > 0 && by.length < arms,
      "+": by.includes(solved.value.slice(1)), "-": !by.includes(solved.value.slice(1)),
    }[/^[+-]/.test(solved.value) ? solved.value[0] : solved.value];
    const shown = fits && asked.every((word) => problem.textContent.toLowerCase().includes(word));
    problem.hidden = !shown;
    found += shown;
  }
  byId("problems-found").value = found === 1 ? "1 problem" : `${found.toLocaleString("en")} problems`;
}

if (words) {
  for (const control of [words, solved]) control.addEventListener("input", choose);
  words.form.addEventListener("submit", (event) => event.preventDefault());
}

// Files. Everything is made here, in the page; nothing is fetched.
function offer(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

const slug = (words) => words.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

// A copy of a plot that carries its own colours and fonts, since the page's style sheet stays behind.
function alone(svg) {
  const copy = svg.cloneNode(true);
  const style = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font", "text-anchor"];
  const from = [svg, ...svg.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const seen = getComputedStyle(element);
    to[i].setAttribute("style", style.map((name) => `${name}:${seen.getPropertyValue(name)}`).join(";"));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of [["width", "100%"], ["height", "100%"]]) paper.setAttribute(name, value);
  paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

function asPng(svg, scale = 2) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = scale * svg.viewBox.baseVal.width;
      canvas.height = scale * svg.viewBox.baseVal.height;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(done, "image/png");
    };
    image.onerror = () => failed(new Error("the plot could not be drawn"));
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(alone(svg))}`;
  });
}

const asCsv = (table) => [...table.rows]
  .map((row) => [...row.cells].map((cell) => `"${cell.textContent.trim().replaceAll('"', '""')}"`).join(","))
  .join("\n");

function button(words, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = words;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

for (const svg of document.querySelectorAll("figure > svg, .wide > svg")) {
  const title = svg.getAttribute("aria-label");
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(
    button("SVG", `Save as SVG: ${title}`, () => offer(`${slug(title)}.svg`, "image/svg+xml", alone(svg))),
    button("PNG", `Save as PNG: ${title}`, async () => offer(`${slug(title)}.png`, "image/png", await asPng(svg))),
  );
  svg.after(tools);
}

for (const table of document.querySelectorAll("details > .wide > table")) {
  const name = table.closest("section").getAttribute("aria-label");
  const save = button("CSV", `Save as CSV: ${name}`, () => offer(`${slug(name)}.csv`, "text/csv", asCsv(table)));
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(save);
  table.before(tools);
}

byId("save").addEventListener("click", () => {
  offer("report.json", "application/json", byId("data").textContent);
});
