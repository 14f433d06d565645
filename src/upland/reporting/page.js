"use strict";
(() => {
const root = document.documentElement;
root.classList.add("scripted");
const note = (event) => { root.dataset.errors = (root.dataset.errors || "") + (event.message || event.reason) + "\n"; };
addEventListener("error", note);
const say = console.error;
console.error = (...words) => { note({ message: words.join(" ") }); say(...words); };  // as Vega reports a failure
addEventListener("unhandledrejection", note);
addEventListener("securitypolicyviolation", (event) => note({ message: event.violatedDirective + " " + event.blockedURI }));

const make = (tag, options, ...children) => {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
};

// -- charts: colours are the variables of the style sheet, which follow the theme
const soft = { labelColor: "var(--soft)", titleColor: "var(--text)", labelFontSize: 12, titleFontSize: 12,
  titleFontWeight: "normal" };
const styles = ["normal", "anomalous", "threshold", "soft", "text", "link"];
const config = {
  background: null, font: "system-ui, sans-serif", padding: 4,
  view: { stroke: null },
  axis: { ...soft, domainColor: "var(--soft)", tickColor: "var(--soft)", gridColor: "var(--grid)", labelLimit: 160,
    titleLimit: 400 },
  legend: { ...soft, labelColor: "var(--text)", orient: "top", labelLimit: 200, title: null },
  header: { ...soft, labelLimit: 300 },
  title: { color: "var(--text)", anchor: "start", fontSize: 13, limit: 500 },
  mark: { color: "var(--normal)" }, rule: { color: "var(--threshold)" }, text: { color: "var(--text)" },
  range: { category: ["normal", "anomalous", "link", "soft"].map((name) => `var(--${name})`) },
  style: Object.fromEntries(styles.map((name) => [name, { color: `var(--${name})` }])),
};
const refuse = () => Promise.reject(new Error("a chart asks for a file"));
const loader = { load: refuse, sanitize: refuse, http: refuse, file: refuse };
const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, config, loader,
  tooltip: { disableDefaultStyle: true } };
const drawn = new Set();
const draw = (place) => {
  if (!place.clientWidth || drawn.has(place)) return;
  drawn.add(place);
  const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
  vegaEmbed(place, spec, options).then(() => { root.dataset.drawn = Number(root.dataset.drawn) + 1; });
};
const places = [...document.querySelectorAll("[data-spec]")];
const missing = () => places.filter((place) => !drawn.has(place));
const drawRest = () => {
  const next = missing().find((place) => place.clientWidth);
  if (next) { draw(next); setTimeout(drawRest); }
};
root.dataset.charts = places.length;
root.dataset.drawn = 0;
if (places.length) {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting && !drawn.has(target)) draw(target);
  }, { rootMargin: "400px" });
  places.forEach((place) => seen.observe(place));
  setTimeout(drawRest);
}
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawRest);

// -- paper
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => { details.open = true; });
  missing().forEach(draw);
});
addEventListener("afterprint", () => {
  opened.forEach((details) => { details.open = false; });
});

// -- tables
const valueOf = (record, column) => {
  const cell = record.rows[0].cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
};
const compare = (a, b) => {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [x, y] = [a, b].map((text) => Number(String(text).replaceAll(",", "")));
  return Number.isFinite(x) && Number.isFinite(y) ? x - y : String(a).localeCompare(String(b), undefined, { numeric: true });
};
const sortable = (table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const kind = head.dataset.kind;
    if (kind === "picture") return;
    const button = make("button", { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const down = now === "none" ? kind === "number" || kind === "percent" : now === "ascending";
      heads.forEach((other) => { if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const records = [...table.tBodies].map((record) => [valueOf(record, column), record]);
      records.sort(([a], [b]) => (down && a !== "" && b !== "" ? -compare(a, b) : compare(a, b)));
      table.append(...records.map(([, record]) => record));
    });
  });
};
const AT_FIRST = 25;
for (const box of document.querySelectorAll(".table")) {
  const table = box.querySelector("table");
  sortable(table);
  const records = [...table.tBodies];
  if (records.length < 10) continue;
  const words = make("input", { type: "search", autocomplete: "off" });
  const controls = make("div", { className: "controls" }, make("label", {}, "Filter", words));
  const column = [...table.tHead.rows[0].cells].findIndex((head) => head.dataset.kind === "p_value");
  const most = make("input", { type: "number", min: 0, max: 1, step: "any", inputMode: "decimal" });
  if (column >= 0) controls.append(make("label", {}, "p at most", most));
  const counted = make("output", {});
  const more = make("button", { type: "button" });
  controls.append(counted, more);
  const written = (cell) => (cell.querySelector("svg") ? "" : cell.textContent);
  const texts = new Map(records.map((record) => {
    const said = [...record.querySelectorAll("td")].map(written).join(" ").toLowerCase();
    return [record, `${said} ${said.replace(/(\d),(?=\d{3})/g, "$1")}`];
  }));
  let all = records.length <= AT_FIRST;
  const update = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const limit = most.value === "" ? Infinity : Number(most.value);
    let found = 0;
    for (const record of table.tBodies) {
      const fits = wanted.every((word) => texts.get(record).includes(word))
        && (column < 0 || limit === Infinity || valueOf(record, column) <= limit);
      record.hidden = !fits;
      record.classList.toggle("later", fits && found >= AT_FIRST);
      if (fits) found += 1;
    }
    const shown = all ? found : Math.min(found, AT_FIRST);
    counted.textContent = `${shown} of ${records.length} shown` + (found < records.length ? `, ${found} match` : "");
    table.classList.toggle("all", all);
    more.hidden = found <= AT_FIRST;
    more.textContent = all ? `Show the first ${AT_FIRST}` : `Show all ${found}`;
  };
  words.addEventListener("input", update);
  most.addEventListener("input", update);
  more.addEventListener("click", () => { all = !all; update(); });
  table.tHead.addEventListener("click", update);
  box.prepend(controls);
  update();
}

// -- levels
for (const box of document.querySelectorAll(".slider")) {
  const table = box.querySelector("table");
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].slice(1);
  if (!rows.length) continue;
  const input = make("input", { type: "range", min: 0, max: rows.length - 1, step: 1, value: box.dataset.start });
  const level = make("output", {});
  const values = make("dl", { ariaLive: "polite" });
  const update = () => {
    const [name, ...cells] = rows[input.value].cells;
    level.textContent = " " + name.textContent;
    input.setAttribute("aria-valuetext", name.textContent);
    values.replaceChildren(...cells.flatMap((cell, number) => [
      make("dt", { textContent: heads[number].textContent }), make("dd", { textContent: cell.textContent })]));
  };
  input.addEventListener("input", update);
  const moved = make("div", { className: "moved" }, make("label", {}, box.dataset.label + ":", level, input), values);
  const whole = make("details", {}, make("summary", { textContent: "All levels" }), box.querySelector(".scroll"));
  box.replaceChildren(moved, whole);
  update();
}

// -- in a notebook
if (parent !== window) {
  const tell = () => parent.postMessage({ uplandHeight: root.scrollHeight }, "*");
  new ResizeObserver(tell).observe(document.body);
  tell();
}
})();
