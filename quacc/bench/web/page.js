"use strict";
// What follows up to the mark is arithmetic, which the tests call; the rest builds the page. Texts
// of records reach it through text nodes alone.

const finite = (x) => typeof x === "number" && Number.isFinite(x);
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);
const sum = (xs) => xs.reduce((a, b) => a + b, 0);
const HOW = {
  mean: (xs) => sum(xs) / xs.length,
  rms: (xs) => Math.sqrt(sum(xs.map((x) => x * x)) / xs.length),
  median: (xs) => {
    const s = [...xs].sort((a, b) => a - b), m = s.length >> 1;
    return s.length % 2 ? s[m] : (s[m - 1] + s[m]) / 2;
  },
  max: (xs) => xs.reduce((a, b) => Math.max(a, b), -Infinity),
};

/** Which way of these makes a metric of its cases' numbers; undefined if none does. */
function wayOf(value, xs) {
  if (!finite(value) || !xs.length) return undefined;
  const near = (x) => Math.abs(x - value) <= 1e-6 * Math.max(Math.abs(value), Math.max(...xs.map(Math.abs)));
  return Object.keys(HOW).find((way) => near(HOW[way](xs)));
}

function random(seed) { // mulberry32
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** 95 % interval of a number of n cases, by 1000 samples drawn with replacement. */
function interval(n, number, seed = 1) {
  const next = random(seed), found = [], drawn = new Array(n);
  for (let i = 0; i < 1000; i++) {
    for (let j = 0; j < n; j++) drawn[j] = Math.floor(next() * n);
    found.push(number(drawn));
  }
  found.sort((a, b) => a - b);
  return [found[25], found[974]];
}

/** -1: a is better beyond doubt, 1: b is, 0: a tie. a and b: errors by case. */
function compare(a, b, way, lower) {
  const common = [...a.keys()].filter((i) => b.has(i));
  if (common.length < 3 || way === undefined || way === "max") return undefined;
  const xs = common.map((i) => a.get(i)), ys = common.map((i) => b.get(i)), f = HOW[way];
  const [low, high] = interval(common.length, (d) => f(d.map((i) => xs[i])) - f(d.map((i) => ys[i])));
  if (low <= 0 && high >= 0) return 0;
  return (high < 0) === lower ? -1 : 1;
}

/** Place of each: one more than those that are better beyond doubt. */
function places(entries, way, lower) {
  return entries.map((one) => {
    if (!finite(one.value)) return null;
    return 1 + entries.filter((other) => {
      if (other === one || !finite(other.value)) return false;
      const sign = compare(one.errors, other.errors, way, lower);
      return sign === undefined ? (lower ? other.value < one.value : other.value > one.value) : sign === 1;
    }).length;
  });
}

/** 1 is best, 0 is chance. Without a chance, how near to the best of the models shown. */
function score(value, best, lower, chance) {
  if (!finite(value)) return null;
  const clip = (x) => Math.min(1, Math.max(0, x));
  if (lower) {
    if (finite(chance) && chance > 0) return clip(1 - value / chance);
    return value === best ? 1 : best > 0 ? clip(best / value) : 0;
  }
  if (finite(chance) && best > chance) return clip((value - chance) / (best - chance));
  return value === best ? 1 : best > 0 ? clip(value / best) : 0;
}

/** Weighted mean of scores; what is missing counts 0, or is left out. */
function composite(scores, weights, leaveOut) {
  let total = 0, weight = 0;
  scores.forEach((one, i) => {
    if (!weights[i] || (one === null && leaveOut)) return;
    total += weights[i] * (one ?? 0);
    weight += weights[i];
  });
  return weight ? total / weight : null;
}

/** Points that no other beats in both. */
function pareto(points, lowerX, lowerY) {
  const asGood = (a, b, lower) => (lower ? a <= b : a >= b);
  return points.filter((p) => !points.some((q) =>
    asGood(q.x, p.x, lowerX) && asGood(q.y, p.y, lowerY) && (q.x !== p.x || q.y !== p.y)));
}

function format(x) {
  if (!finite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) {
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits}×10${[...String(Number(power))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")}`;
  }
  return String(Number(x.toPrecision(size >= 100 ? (size >= 1e4 ? 5 : 4) : 3)));
}

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
      for (const m of high / low > 50 ? [1] : [1, 2, 5]) found.push(m * 10 ** p);
    return found.filter((t) => t >= low && t <= high);
  }
  const raw = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * unit >= raw) * unit, found = [];
  for (let t = Math.ceil(low / step); t * step <= high; t++) found.push(Number((t * step).toPrecision(12)));
  return found;
}

// ---- The page ----

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7b4fc9", "#8a8a8a"];

function add(parent, ...children) {
  parent.append(...children.flat().filter((one) => one !== null && one !== undefined).map((one) => (one instanceof Node ? one : String(one))));
  return parent;
}
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  return add(node, ...children);
}
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return add(node, ...children);
}
function marker(model, x, y, size = 4) {
  const kind = Math.floor(model / COLOURS.length + model) % 4, fill = COLOURS[model % COLOURS.length], s = size;
  if (kind === 0) return svg("circle", { cx: x, cy: y, r: s, fill });
  const d = ["", `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`, `M${x} ${y - s * 1.2}l${s * 1.2} ${s * 2.2}h${-2.4 * s}z`, `M${x} ${y - 1.4 * s}l${1.4 * s} ${1.4 * s}l${-1.4 * s} ${1.4 * s}l${-1.4 * s} ${-1.4 * s}z`][kind];
  return svg("path", { d, fill });
}
const fold = (title, ...children) => el("details", {}, el("summary", {}, title), ...children);
function lazily(details, build) {
  details.addEventListener("toggle", () => { if (details.open && !details.dataset.built) { details.dataset.built = "1"; build(details); } });
  return details;
}
function chips(labels, chosen, changed) {
  return el("div", { className: "chips" }, labels.map((label, i) => {
    const button = el("button", { type: "button", onclick: () => {
      if (chosen.has(i)) chosen.delete(i); else chosen.add(i);
      button.setAttribute("aria-pressed", chosen.has(i)); changed();
    } }, label);
    button.setAttribute("aria-pressed", chosen.has(i));
    return button;
  }));
}
function choice(label, options, chosen, changed) {
  return el("label", {}, `${label} `, el("select", { onchange: (event) => changed(Number(event.target.value)) },
    options.map((text, i) => el("option", { value: i, selected: i === chosen }, text))));
}
/** A table whose columns sort; cells are {show: nodes, by: what it is sorted by}. */
function table(heads, rows, classes = []) {
  const body = el("tbody"), head = el("tr");
  const lines = rows.map((cells, r) => ({ cells, node: el("tr", { className: classes[r] ?? "" }, cells.map((cell) =>
    el("td", { className: cell.kind ?? "" }, cell.show))) }));
  let sorted = -1, up = true;
  heads.forEach((text, c) => {
    const th = el("th", { scope: "col" }, el("button", { type: "button", onclick: () => {
      up = sorted === c ? !up : true; sorted = c;
      [...head.children].forEach((one) => one.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const of = (line) => line.cells[c].by;
      lines.sort((a, b) => {
        const x = of(a), y = of(b);
        if (!(finite(x) || typeof x === "string")) return 1;
        if (!(finite(y) || typeof y === "string")) return -1;
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      add(body, lines.map((line) => line.node));
    } }, text));
    add(head, th);
  });
  return el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table" }, el("table", {}, el("thead", {}, head), add(body, lines.map((line) => line.node))));
}
const cell = (show, by, kind) => ({ show, by, kind });

function turn(p, [yaw, pitch]) {
  const x = p[0] * Math.cos(yaw) - p[1] * Math.sin(yaw), y = p[0] * Math.sin(yaw) + p[1] * Math.cos(yaw);
  return [x, p[2] * Math.cos(pitch) - y * Math.sin(pitch), y * Math.cos(pitch) + p[2] * Math.sin(pitch)]; // right, up, away
}
/** The atoms of a structure, those on the cell's faces repeated; dragged or with arrows, they turn. */
function drawing(structure, atoms, label) {
  const cellOf = structure.cell, solid = structure.pbc.map((p, i) => p && Math.hypot(...cellOf[i]) > 0);
  const [a, b, c] = cellOf, cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
  const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2], volume = dot(a, cross(b, c));
  const inverse = Math.abs(volume) > 1e-9 ? [cross(b, c), cross(c, a), cross(a, b)] : null;
  let all = [];
  structure.positions.forEach((p, i) => {
    let images = [p];
    if (inverse) [0, 1, 2].forEach((k) => {
      const f = dot(p, inverse[k]) / volume;
      const near = solid[k] && Math.abs(f - Math.round(f)) < 0.02;
      if (near) images = images.flatMap((q) => [0, 1].map((n) => q.map((x, j) => x + (n - Math.round(f)) * cellOf[k][j])));
    });
    for (const q of images) all.push({ p: q, n: structure.numbers[i] });
  });
  if (all.length > 1500) all = all.slice(0, 1500);
  const corners = [], edges = [];
  if (solid.some(Boolean) && inverse) for (let i = 0; i < 8; i++) {
    corners.push([0, 1, 2].map((j) => sum([0, 1, 2].map((k) => ((i >> k) & 1) * cellOf[k][j]))));
    for (let k = 0; k < 3; k++) if (!((i >> k) & 1)) edges.push([i, i | (1 << k)]);
  }
  const points = [...all.map((one) => one.p), ...corners], middle = [0, 1, 2].map((j) => sum(points.map((p) => p[j])) / points.length);
  const reach = Math.max(1.5, ...points.map((p) => Math.hypot(...p.map((x, j) => x - middle[j])))) + 0.8;
  const angles = [0.5, 0.35], scale = 115 / reach;
  const box = svg("svg", { viewBox: "-120 -120 240 240", class: "atoms", tabindex: 0, role: "img", "aria-label": `${label}: drawing of ${structure.numbers.length} atoms; arrow keys turn it` });
  const kinds = (n) => own(atoms, String(n)) ?? ["?", 1, "#999999"];
  const bonds = [];
  if (all.length <= 250) for (let i = 0; i < all.length; i++) for (let j = 0; j < i; j++) {
    const d = Math.hypot(...all[i].p.map((x, k) => x - all[j].p[k]));
    if (d > 0.1 && d < 1.15 * (kinds(all[i].n)[1] + kinds(all[j].n)[1])) bonds.push([i, j]);
  }
  function paint() {
    const at = (p) => { const q = turn(p.map((x, j) => x - middle[j]), angles); return [q[0] * scale, -q[1] * scale, q[2]]; };
    const places = all.map((one) => at(one.p)), ends = corners.map(at);
    const items = [
      ...edges.map(([i, j]) => [1e3, svg("line", { x1: ends[i][0], y1: ends[i][1], x2: ends[j][0], y2: ends[j][1], class: "axis" })]),
      ...bonds.map(([i, j]) => [(places[i][2] + places[j][2]) / 2 + 0.01, svg("line", { x1: places[i][0], y1: places[i][1], x2: places[j][0], y2: places[j][1], stroke: "#888", "stroke-width": Math.max(1.5, 0.18 * scale) })]),
      ...places.map(([x, y, depth], i) => [depth, svg("circle", { cx: x, cy: y, r: Math.max(2, 0.45 * kinds(all[i].n)[1] * scale), fill: kinds(all[i].n)[2], stroke: "#333", "stroke-width": 0.8 })]),
    ].sort((p, q) => q[0] - p[0]);
    box.replaceChildren(...items.map((item) => item[1]));
  }
  let from = null;
  box.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; box.setPointerCapture(event.pointerId); });
  box.addEventListener("pointermove", (event) => {
    if (!from) return;
    angles[0] += (event.clientX - from[0]) / 80; angles[1] += (event.clientY - from[1]) / 80;
    from = [event.clientX, event.clientY]; paint();
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { from = null; });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    if (step) { angles[0] += step[0]; angles[1] += step[1]; paint(); event.preventDefault(); }
  });
  paint();
  return box;
}

/** Points and lines; the nearest to a finger, or the next by arrow keys, is handed to `pick`. */
function chart(where, { series, x, y, diagonal, logX, logY, top, pick, label, names }) {
  const W = Math.max(300, Math.min(760, where.clientWidth || 600)), H = Math.min(420, Math.round(W * 0.7)), L = 66, B = 44;
  const good = (p) => finite(p.x) && finite(p.y) && (!logX || p.x > 0) && (!logY || p.y > 0);
  const points = series.flatMap((one) => one.points.filter(good));
  if (!points.length) { where.replaceChildren(el("p", { className: "soft" }, "Nothing to draw: no model has both numbers for the structures shown.")); return; }
  let [x0, x1] = [Math.min(...points.map((p) => p.x)), Math.max(...points.map((p) => p.x))];
  let [y0, y1] = [Math.min(...points.map((p) => p.y)), Math.max(...points.map((p) => p.y))];
  if (top !== undefined && top > y0) y1 = Math.min(y1, top);
  if (diagonal) [x0, y0, x1, y1] = [Math.min(x0, y0), Math.min(x0, y0), Math.max(x1, y1), Math.max(x1, y1)];
  const wide = (low, high, log) => {
    if (log) return [low / (high / low > 1.01 ? (high / low) ** 0.06 : 1.5), high * (high / low > 1.01 ? (high / low) ** 0.06 : 1.5)];
    const d = high - low || Math.abs(high) * 0.1 || 1;
    return [low - 0.05 * d, high + 0.05 * d];
  };
  [x0, x1] = wide(x0, x1, logX); [y0, y1] = wide(y0, y1, logY);
  const of = (v, low, high, log) => (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low));
  const X = (v) => L + of(v, x0, x1, logX) * (W - L - 12), Y = (v) => H - B - of(v, y0, y1, logY) * (H - B - 10);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, tabindex: 0, role: "img", "aria-label": `${label}. Left and right arrow keys go through the points.` });
  const thin = (found, most) => found.filter((_, i) => i % Math.ceil(found.length / most) === 0);
  for (const t of thin(ticks(x0, x1, logX), W < 500 ? 5 : 8)) add(root, svg("line", { x1: X(t), x2: X(t), y1: 10, y2: H - B, class: "grid" }), svg("text", { x: X(t), y: H - B + 16, "text-anchor": "middle" }, format(t)));
  for (const t of thin(ticks(y0, y1, logY), 7)) add(root, svg("line", { x1: L, x2: W - 12, y1: Y(t), y2: Y(t), class: "grid" }), svg("text", { x: L - 5, y: Y(t) + 4, "text-anchor": "end" }, format(t)));
  add(root, svg("text", { x: (L + W) / 2, y: H - 8, "text-anchor": "middle" }, x), svg("text", { transform: `translate(13 ${(H - B) / 2}) rotate(-90)`, "text-anchor": "middle" }, y));
  if (diagonal) add(root, svg("line", { x1: X(Math.max(x0, y0)), y1: Y(Math.max(x0, y0)), x2: X(Math.min(x1, y1)), y2: Y(Math.min(x1, y1)), class: "axis" }));
  const seen = [], inside = (p) => p.y <= y1 && p.y >= y0;
  for (const one of series) {
    const here = one.points.filter((p) => good(p));
    if (one.line) {
      let d = "", pen = false;
      for (const p of one.points) { if (good(p) && inside(p)) { d += `${pen ? "L" : "M"}${X(p.x).toFixed(1)} ${Y(p.y).toFixed(1)}`; pen = true; } else pen = false; }
      add(root, svg("path", { d, fill: "none", stroke: one.front ? "currentColor" : COLOURS[one.model % COLOURS.length], "stroke-width": 1.5, "stroke-dasharray": one.front ? "5 4" : "none" }));
    }
    if (one.front) continue;
    for (const p of here.filter(inside)) {
      add(root, marker(one.model, X(p.x), Y(p.y), one.line ? 2.5 : names ? 6 : 4));
      if (names) add(root, svg("text", X(p.x) > 0.65 * W ? { x: X(p.x) - 9, y: Y(p.y) - 8, "text-anchor": "end" } : { x: X(p.x) + 9, y: Y(p.y) - 8 }, one.name));
      seen.push({ ...p, model: one.model, px: X(p.x), py: Y(p.y) });
    }
  }
  const ring = svg("circle", { r: 8, class: "ring", cx: -99, cy: -99 });
  add(root, ring);
  const order = [...seen].sort((p, q) => p.px - q.px || p.py - q.py);
  let at = -1;
  const show = (p) => { ring.setAttribute("cx", p.px); ring.setAttribute("cy", p.py); at = order.findIndex((q) => q.px === p.px && q.py === p.py && q.model === p.model); if (pick) pick(p); };
  const find = (event) => {
    const box = root.getBoundingClientRect(), mx = (event.clientX - box.left) * W / box.width, my = (event.clientY - box.top) * H / box.height;
    const far = (p) => Math.hypot(p.px - mx, p.py - my), best = seen.reduce((p, q) => (!p || far(q) < far(p) ? q : p), null);
    if (best && far(best) < 24) show(best);
  };
  root.addEventListener("pointermove", find); root.addEventListener("pointerdown", find);
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && order.length) { show(order[(at + step + order.length) % order.length]); event.preventDefault(); }
  });
  where.replaceChildren(root);
}

const STATES = { complete: "", partial: "warn", failed: "bad", unavailable: "soft", skipped: "soft" };
const CHOICE = { models: new Set(), tags: new Set(), elements: new Set(), common: false };

function start(data) {
  const { models, tasks, pairs, texts, atoms } = data;
  const weights = tasks.map(() => 0);
  const policy = { leaveOut: false, unmarked: false };
  const chosen = (pair) => pair.cases.filter((one) => passes(tasks[pair.task], one.i));
  const elements = [...new Set(tasks.flatMap((task) => task.cases.flatMap((one) => one.elements)))].sort();
  const tags = [...new Set(tasks.flatMap((task) => task.tags))].sort();
  models.forEach((_, i) => CHOICE.models.add(i));
  const pairOf = (t, m) => pairs.find((pair) => pair.task === t && pair.model === m);
  const shownModels = () => models.map((_, i) => i).filter((i) => CHOICE.models.has(i));
  const shownTasks = () => tasks.map((_, i) => i).filter((i) => !CHOICE.tags.size || tasks[i].tags.some((tag) => CHOICE.tags.has(tags.indexOf(tag))));
  function passes(task, i) {
    return !CHOICE.elements.size || task.cases[i].elements.some((one) => CHOICE.elements.has(elements.indexOf(one)));
  }
  const unitOf = (info) => (info.unit ? ` (${info.unit})` : "");

  /** A metric of a pair, for the structures chosen. */
  function entry(t, m, name, k) {
    const pair = pairOf(t, m), task = tasks[t], metric = pair && own(pair.metrics, name);
    const errors = new Map();
    if (!pair) return { value: null, errors };
    const all = pair.cases.filter((one) => finite(one.errors[k]));
    const way = metric ? wayOf(metric.value, all.map((one) => one.errors[k])) : undefined;
    let kept = all.filter((one) => passes(task, one.i));
    if (CHOICE.common) for (const other of shownModels()) {
      const theirs = pairOf(t, other);
      if (!theirs || !theirs.cases.some((one) => finite(one.errors[k]))) continue;
      const has = new Set(theirs.cases.filter((one) => finite(one.errors[k])).map((one) => one.i));
      kept = kept.filter((one) => has.has(one.i));
    }
    kept.forEach((one) => errors.set(one.i, one.errors[k]));
    if (!metric || (kept.length === all.length && !CHOICE.elements.size)) return { ...(metric ?? { value: null }), errors, way };
    const of = task.cases.filter((_, i) => passes(task, i)).length;
    if (!way || !kept.length) return { value: null, n: kept.length, of, errors, way, unknown: kept.length > 0 };
    const xs = kept.map((one) => one.errors[k]), value = HOW[way](xs);
    const [low, high] = xs.length > 2 && way !== "max" ? interval(xs.length, (d) => HOW[way](d.map((i) => xs[i]))) : [null, null];
    return { value, low, high, n: kept.length, of, errors, way };
  }
  function ranked(t, name, k) {
    const info = tasks[t].metrics[name], entries = shownModels().map((m) => ({ m, ...entry(t, m, name, k) }));
    const found = places(entries, entries.map((one) => one.way).find(Boolean), info.better === "lower");
    entries.forEach((one, i) => {
      if (found[i] === null) { one.place = ""; return; }
      one.place = `${found[i]}${found.filter((p) => p === found[i]).length > 1 ? "=" : ""}`;
      if (one.n < one.of) one.place = `(${one.place})`;
    });
    return entries;
  }
  const counts = (one) => (one.of === undefined ? "" : `${one.n}/${one.of}`);
  const why = (pair) => (pair ? (pair.state === "complete" ? "" : pair.state) : "not run");

  function spread(one, entries, chance) {
    const top = Math.max(...entries.flatMap((e) => [e.high ?? e.value]).filter(finite), finite(chance) ? 0 : -Infinity) || 1;
    const bottom = Math.min(0, ...entries.map((e) => e.low ?? e.value).filter(finite));
    const X = (v) => 4 + Math.min(1, (v - bottom) / (top - bottom || 1)) * 92;
    const root = svg("svg", { viewBox: "0 0 100 12", width: 100, height: 12, "aria-hidden": "true" });
    if (finite(one.low)) add(root, svg("line", { x1: X(one.low), x2: X(one.high), y1: 6, y2: 6, class: "range" }));
    if (finite(chance) && chance <= top) add(root, svg("line", { x1: X(chance), x2: X(chance), y1: 0, y2: 12, class: "zero" }));
    return add(root, marker(one.m, X(one.value), 6, 3.5));
  }
  const legend = () => el("div", { className: "chips soft" }, shownModels().map((m) => el("span", {}, svg("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" }, marker(m, 0, 0, 5)), models[m].label)));

  function taskBody(t, box) {
    const task = tasks[t], names = Object.keys(task.metrics), data = task.data;
    add(box, el("p", {}, `${task.title}. `, el("span", { className: "soft" }, `Type: ${task.type}; workflow ${task.workflow}, parameters ${JSON.stringify(task.parameters)}; data: ${data.title}${data.level ? `, level of theory ${data.level}` : ", no reference"}, licence ${data.licence || "not stated"}; tags: ${task.tags.join(", ") || "none"}.`)));
    const ranks = names.map((name, k) => ranked(t, name, k));
    const rows = shownModels().map((m, r) => {
      const pair = pairOf(t, m), marks = pair ? pair.marks : [];
      return [cell([models[m].label], models[m].label),
        ...names.map((name, k) => {
          const one = ranks[k][r];
          if (!finite(one.value)) return cell([one.unknown ? "not for a part of the cases" : "–", el("small", {}, counts(one))], undefined, "num");
          return cell([format(one.value), ` #${one.place}`, el("small", {}, finite(one.low) ? `${format(one.low)} to ${format(one.high)}, ` : "", `n ${counts(one)}`), spread(one, ranks[k], task.metrics[name].chance)], one.value, "num");
        }),
        cell([el("span", { className: STATES[pair?.state] ?? "soft" }, pair?.state ?? "not run"), pair?.reason ? el("span", { className: "soft" }, `: ${pair.reason}`) : ""], pair?.state ?? "~", "text"),
        cell(marks.length ? marks.map((one) => el("div", { className: "warn" }, `† ${one}`)) : ["none"], marks.length, "text"),
        cell([pair ? `${format(pair.seconds)} s` : "–"], pair?.seconds, "num")];
    });
    const chances = names.map((name) => task.metrics[name].chance);
    const classes = rows.map(() => "");
    if (chances.some(finite)) {
      rows.push([cell(["by chance"], "by chance"), ...chances.map((one) => cell([format(one)], one ?? undefined, "num")), cell(["says the mean of all references"], "~", "text"), cell([""], -1, "text"), cell([""], undefined)]);
      classes.push("chance");
    }
    add(box, table(["model", ...names.map((name) => `${task.metrics[name].title}${unitOf(task.metrics[name])}${task.metrics[name].better === "lower" ? " ↓" : " ↑"}`), "state", "marks", "wall time"], rows, classes));
    add(box, el("p", { className: "soft" }, names.map((name) => `${task.metrics[name].title}: ${task.metrics[name].mean}, ${task.metrics[name].better} is better. `), "Below each, its 95 % interval and the cases that it is made of, of all", chances.some(finite) ? "; red dashes: chance (for all structures)" : "", ". #1= is a shared place; in parentheses: with cases missing."));
    if (task.type === "cost") {
      const machines = new Set(shownModels().map((m) => pairOf(t, m)).filter(Boolean).map((pair) => JSON.stringify([own(pair.context, "cpu"), own(pair.context, "cores"), own(pair.context, "gpu")])));
      if (machines.size > 1) add(box, el("p", { className: "warn" }, "These ran on different machines: their times cannot be compared. See “Context of the runs”."));
    }
    failures(t, box);
    const withReference = Object.keys(task.quantities).filter((q) => task.cases.some((one) => finite(own(one.reference, q))));
    if (withReference.length) parity(t, box, withReference);
    if (Object.keys(task.curves).length) curves(t, box);
    lazily(add(box.appendChild(fold("All cases")), ""), (where) => caseTable(t, where));
  }

  function failures(t, box) {
    const lines = [];
    for (const m of shownModels()) {
      const pair = pairOf(t, m);
      if (!pair) continue;
      const trace = (i) => (i === null || i === undefined ? null : fold("Traceback", el("pre", {}, texts[i])));
      if (pair.state !== "complete" && (pair.reason || pair.traceback !== null)) lines.push(el("li", {}, el("b", {}, models[m].label), ` (${pair.state}): ${pair.reason ?? ""}`, trace(pair.traceback)));
      for (const one of chosen(pair)) if (one.state !== "done") lines.push(el("li", {}, `${models[m].label}, ${tasks[t].cases[one.i].name} (${one.state}): ${one.reason ?? ""}`, trace(one.traceback)));
      for (const one of chosen(pair)) for (const text of one.warnings) lines.push(el("li", { className: "soft" }, `${models[m].label}, ${tasks[t].cases[one.i].name}, warning: ${text}`));
    }
    if (lines.length) add(box, fold(`What failed, was left out or warned of (${lines.length})`, el("ul", {}, lines)));
  }

  function panel(t, place) {
    return (p) => {
      const one = tasks[t].cases[p.i];
      place.replaceChildren(el("b", {}, one.name), ` ${one.formula}`, el("div", {}, models[p.model].label), el("div", { className: "soft" }, p.says), drawing(one.structure, atoms, one.name));
    };
  }
  const hint = "Point at, touch, or go with the arrow keys to a point to see its structure.";
  function figure(box, title) {
    const where = el("div"), place = el("div", { className: "point", ariaLive: "polite" }, el("span", { className: "soft" }, hint));
    add(box, el("h3", {}, title), legend());
    const controls = box.appendChild(el("div", { className: "chips" }));
    add(box, el("div", { className: "figure" }, where, place));
    return [where, place, controls];
  }
  function parity(t, box, quantities) {
    const task = tasks[t], [where, place, controls] = figure(box, "Value against reference");
    const draw = (q) => {
      const name = quantities[q], info = task.quantities[name], k = task.values.indexOf(name);
      chart(where, {
        diagonal: true, x: `reference: ${info.title}${unitOf(info)}`, y: `model${unitOf(info)}`, label: `${info.title} of models against the reference`, pick: panel(t, place),
        series: shownModels().filter((m) => pairOf(t, m)).map((m) => ({ model: m, points: chosen(pairOf(t, m)).map((one) => {
          const x = own(task.cases[one.i].reference, name), y = one.values[k];
          return { x, y, i: one.i, says: `${info.title}: ${format(y)}, reference ${format(x)} ${info.unit}; off by ${format(y - x)}` };
        }) })),
      });
    };
    add(controls, choice("Quantity", quantities.map((q) => task.quantities[q].title), 0, draw));
    draw(0);
  }
  function curves(t, box) {
    const task = tasks[t], names = Object.keys(task.curves), [where, place, controls] = figure(box, "Curves");
    const has = task.cases.map((_, i) => i).filter((i) => passes(task, i) && pairs.some((pair) => pair.task === t && pair.cases.some((one) => one.i === i && Object.keys(one.curves).length)));
    if (!has.length) { where.append("No curve of the structures shown."); return; }
    const state = { i: 0, name: 0, zero: /energy/i.test(names[0]) ? 1 : 0, cut: true };
    const draw = () => {
      const name = names[state.name], info = task.curves[name], series = [], depths = [];
      for (const m of shownModels()) {
        const one = pairOf(t, m)?.cases.find((c) => c.i === has[state.i]), curve = one && own(one.curves, name);
        if (!curve) continue;
        const xs = task.xs[curve[0]], ys = curve[1].filter(finite);
        const zero = [0, Math.min(...ys), ys.at(-1)][state.zero];
        const points = xs.map((x, j) => ({ x, y: finite(curve[1][j]) ? curve[1][j] - zero : null, i: has[state.i] })).map((p) => ({ ...p, says: `${info.xlabel}: ${format(p.x)}; ${info.ylabel}: ${format(p.y)}` }));
        series.push({ model: m, line: true, points });
        const s = points.map((p) => p.y).filter(finite).sort((a, b) => a - b);
        // Some depths of the well as seen from its end; what has none, most of its points.
        const last = ys.at(-1) - zero;
        if (s.length) depths.push(last > s[0] ? s[0] + 3 * (last - s[0]) : s[Math.floor(s.length * 0.6)]);
      }
      const all = series.flatMap((one) => one.points.map((p) => p.y)).filter(finite), cut = depths.length ? Math.max(...depths) : undefined;
      chart(where, { series, x: info.xlabel, y: info.ylabel, label: `${name} of ${task.cases[has[state.i]].name}`, pick: panel(t, place), top: state.cut && cut > Math.min(...all) ? cut : undefined });
    };
    add(controls, choice("Structure", has.map((i) => task.cases[i].name), 0, (v) => { state.i = v; draw(); }), choice("Curve", names, 0, (v) => { state.name = v; draw(); }),
      choice("Zero", ["as given", "lowest point", "last point"], state.zero, (v) => { state.zero = v; draw(); }), choice("Height", ["near the minimum", "all of it"], 0, (v) => { state.cut = v === 0; draw(); }));
    draw();
  }
  function caseTable(t, where) {
    const task = tasks[t], names = Object.keys(task.metrics), shown = shownModels();
    const draw = (k) => {
      const rows = task.cases.map((one, i) => i).filter((i) => passes(task, i)).map((i) => [cell([task.cases[i].name, el("small", {}, task.cases[i].formula)], task.cases[i].name), ...shown.map((m) => {
        const one = pairOf(t, m)?.cases.find((c) => c.i === i);
        return cell([one ? (one.state === "done" ? format(one.errors[k]) : one.state) : "–"], one?.errors[k] ?? undefined, "num");
      })]);
      where.querySelector(".scroll")?.remove();
      add(where, table(["case", ...shown.map((m) => models[m].label)], rows));
    };
    if (!names.length) return;
    add(where, choice("Number", names.map((name) => task.metrics[name].title + unitOf(task.metrics[name])), 0, draw));
    draw(0);
  }

  function overview(box) {
    const shown = shownModels();
    add(box, el("h2", { id: "overview" }, "Overview"), el("p", { className: "soft" }, "The first metric of each task; ↓ lower is better, ↑ higher. #: place, = shared, in parentheses with cases missing. †: marked, see the task."));
    const rows = shownTasks().map((t) => {
      const [name] = Object.keys(tasks[t].metrics), info = name === undefined ? null : tasks[t].metrics[name], ranks = info ? ranked(t, name, 0) : [];
      const link = el("a", { href: `#task${t}`, onclick: () => { document.getElementById(`task${t}`).open = true; } }, tasks[t].title);
      return [cell([link, el("small", {}, info ? `${info.title}${unitOf(info)} ${info.better === "lower" ? "↓" : "↑"}` : "no metric")], tasks[t].title),
        cell([format(info?.chance)], info?.chance ?? undefined, "num"),
        ...shown.map((m, r) => {
          const pair = pairOf(t, m), one = ranks[r], bad = why(pair);
          if (!one || !finite(one.value)) return cell([el("span", { className: STATES[pair?.state] || "soft" }, bad || "–")], undefined, "num");
          return cell([format(one.value), pair.marks.length ? "†" : "", ` #${one.place}`, el("small", {}, counts(one), bad && bad !== "partial" ? ` ${bad}` : "")], one.value, "num");
        })];
    });
    add(box, table(["task", "chance", ...shown.map((m) => models[m].label)], rows));
  }

  function overall(box) {
    add(box, el("h2", { id: "overall" }, "Overall"), el("p", {}, "There is no score until you say what matters to you: give weights to the tasks."));
    const out = el("div", { ariaLive: "polite" }), sliders = [];
    const draw = () => {
      const used = shownTasks().filter((t) => weights[t] > 0), total = sum(used.map((t) => weights[t]));
      sliders.forEach(([t, input, text]) => { input.value = weights[t]; text.textContent = total ? `${Math.round(100 * weights[t] / total)} %` : "0"; });
      if (!total) { out.replaceChildren(el("p", { className: "soft" }, "No weights, no score.")); return; }
      const table_ = shownModels().map((m) => ({ m, scores: used.map((t) => taskScore(t, m)), })).map((one) => ({ ...one, total: composite(one.scores, used.map((t) => weights[t]), policy.leaveOut) }));
      table_.sort((a, b) => (b.total ?? -1) - (a.total ?? -1));
      out.replaceChildren(table(["model", "score", "tasks", ...used.map((t) => tasks[t].title)], table_.map((one) => [
        cell([models[one.m].label], models[one.m].label),
        cell([one.total === null ? "–" : one.total.toFixed(3), svg("svg", { viewBox: "0 0 100 8", width: 100, height: 8, "aria-hidden": "true" }, svg("rect", { width: Math.max(0, 100 * (one.total ?? 0)), height: 8, fill: COLOURS[one.m % COLOURS.length] }))], one.total ?? undefined, "num"),
        cell([`${one.scores.filter((s) => s !== null).length}/${used.length}`], one.scores.filter((s) => s !== null).length, "num"),
        ...one.scores.map((s) => cell([s === null ? `missing${policy.leaveOut ? "" : ": 0"}` : s.toFixed(2)], s ?? undefined, "num"))])));
    };
    add(box, el("div", { className: "weights" }, shownTasks().map((t) => {
      const input = el("input", { type: "range", min: 0, max: 10, step: 1, ariaLabel: `Weight of ${tasks[t].title}` }), text = el("span", { className: "soft" });
      input.value = weights[t];
      input.addEventListener("input", () => { weights[t] = Number(input.value); draw(); });
      sliders.push([t, input, text]);
      return el("label", {}, el("span", {}, tasks[t].title), input, text);
    })), el("div", { className: "chips" },
      el("button", { type: "button", onclick: () => { weights.fill(1); draw(); } }, "All alike"), el("button", { type: "button", onclick: () => { weights.fill(0); draw(); } }, "None"),
      choice("Missing pairs and cases", ["count as chance (0)", "are left out"], Number(policy.leaveOut), (v) => { policy.leaveOut = v === 1; draw(); }),
      choice("Marked pairs", ["count", "are missing"], Number(policy.unmarked), (v) => { policy.unmarked = v === 1; draw(); })),
    el("p", { className: "soft" }, "The score of a task is the mean over its metrics. With a baseline by chance, 1 is no error and 0 is chance or worse (where higher is better: 1 is the best model shown); without one, it is the ratio of the best model shown to the model, or the inverse. Where missing cases count as chance, a task's score is multiplied by the part of its cases that the model has. The total is the weighted mean of the tasks' scores; differences within the intervals above mean nothing."), out);
    draw();
  }
  function taskScore(t, m) {
    const pair = pairOf(t, m);
    if (!pair || (policy.unmarked && pair.marks.length)) return null;
    const found = Object.keys(tasks[t].metrics).map((name, k) => {
      const info = tasks[t].metrics[name], lower = info.better === "lower";
      const values = shownModels().map((other) => entry(t, other, name, k).value).filter(finite), mine = entry(t, m, name, k);
      const s = score(mine.value, lower ? Math.min(...values) : Math.max(...values), lower, info.chance);
      return s === null || policy.leaveOut || !mine.of ? s : s * mine.n / mine.of;
    });
    const have = found.filter((s) => s !== null);
    if (!have.length) return null;
    return sum(have) / (policy.leaveOut ? have.length : found.length);
  }

  function speed(box) {
    const metrics = (kind) => shownTasks().filter((t) => (tasks[t].type === "cost") === kind).flatMap((t) => Object.keys(tasks[t].metrics).map((name, k) => ({ t, name, k, info: tasks[t].metrics[name] })));
    const costs = metrics(true), others = metrics(false);
    if (!costs.length || !others.length) return;
    add(box, el("h2", { id: "speed" }, "Speed against accuracy"));
    const where = el("div"), note = el("p", { className: "soft" }), state = [0, 0];
    const title = (one) => `${tasks[one.t].title}: ${one.info.title}${unitOf(one.info)}`;
    const draw = () => {
      const [c, o] = [costs[state[0]], others[state[1]]];
      const points = shownModels().map((m) => ({ model: m, x: entry(c.t, m, c.name, c.k).value, y: entry(o.t, m, o.name, o.k).value }));
      const both = points.filter((p) => finite(p.x) && finite(p.y));
      const front = pareto(both, c.info.better === "lower", o.info.better === "lower").sort((a, b) => a.x - b.x);
      const log = (key) => both.length > 0 && both.every((p) => p[key] > 0) && Math.max(...both.map((p) => p[key])) > 10 * Math.min(...both.map((p) => p[key]));
      chart(where, { names: true, logX: log("x"), logY: log("y"), x: `${c.info.title}${unitOf(c.info)}`, y: `${o.info.title}${unitOf(o.info)}`, label: `${title(o)} against ${title(c)}`,
        series: [...both.map((p) => ({ model: p.model, name: models[p.model].label, points: [p] })), { front: true, line: true, points: front }] });
      note.textContent = `Dashed: the Pareto front, models that no other beats in both (${front.map((p) => models[p.model].label).join(", ") || "none"}). ${points.length > both.length ? `Without both numbers: ${points.filter((p) => !both.includes(p)).map((p) => models[p.model].label).join(", ")}.` : ""}`;
    };
    add(box, el("div", { className: "chips" }, choice("Cost", costs.map(title), 0, (v) => { state[0] = v; draw(); }), choice("Accuracy", others.map(title), 0, (v) => { state[1] = v; draw(); })), where, note);
    draw();
  }

  function sources(box) {
    const bib = (text) => (text ? fold("BibTeX", copier(text), el("pre", {}, text)) : el("span", { className: "soft" }, "no citation"));
    const copier = (text) => {
      const button = el("button", { type: "button", onclick: async () => {
        try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch {
          const area = el("textarea", { value: text }); button.after(area); area.select(); button.textContent = "Press Ctrl+C";
        }
      } }, "Copy");
      return button;
    };
    add(box, el("h2", { id: "sources" }, "Models, data, and where they ran"), el("h3", {}, "Models"));
    add(box, table(["model", "calculator and parameters", "functional", "trained on", "licence", "fingerprint", "citation"], models.map((one) => [cell([one.label, el("small", {}, one.family)], one.label), cell([el("code", {}, `${one.calculator} ${JSON.stringify(one.parameters)}`)], one.calculator, "text"), cell([one.functional || "–"], one.functional), cell([one.trained_on.join(", ") || "–"], one.trained_on.join()), cell([one.licence || "not stated"], one.licence), cell([el("code", {}, one.fingerprint || "not here")], one.fingerprint, "text"), cell([bib(one.citation)], one.citation, "text")])));
    add(box, el("h3", {}, "Data"));
    add(box, table(["task", "data", "level of theory", "licence", "SHA-256", "citation"], tasks.map((one) => [cell([one.label, el("small", {}, `version ${one.version}`)], one.label), cell([one.data.title], one.data.title, "text"), cell([one.data.level ?? "no reference"], one.data.level ?? ""), cell([one.data.licence || "not stated"], one.data.licence), cell([el("code", {}, one.data.sha256)], one.data.sha256, "text"), cell([bib(one.data.citation)], one.data.citation, "text")])));
    const every = [...new Set([...models.map((one) => one.citation), ...tasks.map((one) => one.data.citation)].map((text) => text.trim()).filter(Boolean))].join("\n\n");
    if (every) add(box, fold("All BibTeX", copier(every), el("pre", {}, every)));
    add(box, el("h3", {}, "Context of the runs"));
    const runs = new Map();
    for (const pair of pairs) {
      const { started, load, ...rest } = pair.context, key = JSON.stringify(rest), run = runs.get(key) ?? { rest, pairs: [], loads: [] };
      run.pairs.push(pair); run.loads.push([started, load]); runs.set(key, run);
    }
    for (const run of runs.values()) add(box, el("p", {}, Object.entries(run.rest).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ")),
      fold(`${run.pairs.length} pairs`, el("ul", {}, run.pairs.map((pair, i) => el("li", { className: "soft" }, `${models[pair.model].label} on ${tasks[pair.task].label}: started ${run.loads[i][0] ?? "–"}, load ${JSON.stringify(run.loads[i][1] ?? null)}, record ${pair.key}`)))));
  }

  const body = el("div"), root = document.getElementById("page");
  const opened = new Set([0]);
  function redraw() {
    body.replaceChildren();
    const parts = [overview, overall];
    parts.forEach((part) => part(body.appendChild(el("section"))));
    add(body, el("h2", { id: "tasks" }, "Tasks"));
    for (const t of shownTasks()) {
      const box = lazily(el("details", { className: "task", id: `task${t}` }, el("summary", {}, tasks[t].label, el("span", { className: "soft" }, ` ${tasks[t].type}, ${tasks[t].cases.length} cases`))), (where) => taskBody(t, where));
      box.addEventListener("toggle", () => { if (box.open) opened.add(t); else opened.delete(t); });
      add(body, box);
      box.open = opened.has(t);
    }
    speed(body.appendChild(el("section")));
    sources(body.appendChild(el("section")));
  }
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  document.title = `Benchmark of ${count(models.length, "model")} on ${count(tasks.length, "task")}`;
  root.replaceChildren(el("h1", {}, document.title), el("p", { className: "soft" }, `Written ${data.written} by quacc ${data.quacc}. Needs no network.`),
    ...(data.lines || []).map((line) => el("p", {}, line)),
    el("nav", {}, ["Overview", "Overall", "Tasks", "Speed", "Sources"].map((name) => el("a", { href: `#${name.toLowerCase()}` }, name))),
    el("details", {}, el("summary", {}, "Filters: models, tags, elements"), el("h3", {}, "Models"), chips(models.map((one) => one.label), CHOICE.models, redraw),
      el("h3", {}, "Tasks with one of these tags (none: all)"), chips(tags, CHOICE.tags, redraw),
      el("h3", {}, "Structures with one of these elements (none: all)"), chips(elements, CHOICE.elements, redraw),
      el("label", {}, el("input", { type: "checkbox", onchange: (event) => { CHOICE.common = event.target.checked; redraw(); } }), " only cases that all models shown have done (of those that have done any)")),
    el("p", { className: "soft" }, "Places: a model is behind another if the 95 % interval of the difference of the two metrics, by the paired bootstrap over the cases that both have done, leaves out zero; otherwise they share the place. Below three common cases, and for maxima, the numbers alone decide. Nothing is corrected for many comparisons."), body);
  redraw();
  let width = window.innerWidth, timer = 0;
  window.addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { if (window.innerWidth !== width) { width = window.innerWidth; redraw(); } }, 200); });
}

if (typeof document === "undefined") module.exports = { HOW, wayOf, interval, compare, places, score, composite, pareto, format, ticks };
else start(JSON.parse(document.getElementById("data").textContent));
