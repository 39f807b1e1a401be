// Corrections: the list of expressions is changed, then everything that shows it is made anew from the page's templates.
const edit = by("edit"), blank = by("blank").content, runs = JSON.parse(edit.dataset.clock);
const frames = Number(edit.dataset.frames), first = Number(edit.dataset.first);
const fields = ["emotion", "onset", "offset"].map(by), undone = [];
let list = expressions.map((one) => {
  const [onset, apex, offset] = one.frames.split(" ").map((frame) => frame - first);
  const image = document.querySelector(`.card[data-expression="${one.expression}"] img`)?.src;
  return { name: one.name, onset, apex, offset, score: one.score, image, was: { name: one.name, onset, offset } };
});
let removed = 0, saved = true, correcting = false, drag = null;

// ---- Frames and times: [frame, second, seconds per frame] of each stretch of constant rate
function run(frame) { return runs.findLast((one) => one[0] <= frame) ?? runs[0]; }
function start(frame) { const [origin, second, step] = run(frame); return second + (frame - origin) * step; }
function stop(frame) { const [origin, second, step] = run(frame); return second + (frame - origin + 1) * step; }
function nearest(time, of) {
  let low = 0, high = frames - 1;
  while (low < high) { const middle = (low + high) >> 1; if (of(middle) < time) low = middle + 1; else high = middle; }
  return low > 0 && time - of(low - 1) < of(low) - time ? low - 1 : low;
}
function typed(text) {  // seconds of 12.5, 0:12.5 or 1:02:03; NaN
  if (!/^(\d+:){0,2}\d+([.,]\d+)?$/.test(text.trim())) return NaN;
  return text.trim().replace(",", ".").split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
}
function changed(one) {
  if (!one.was) return "added";
  const moved = one.was.onset !== one.onset || one.was.offset !== one.offset;
  return [moved ? "moved" : "", one.was.name !== one.name ? "renamed" : ""].filter(Boolean).join(" and ");
}

// ---- Shown
function strip(name) {
  const known = all(".strip:not(.axis)").find((one) => one.ariaLabel === name);
  if (known) return known;
  const made = blank.querySelector(".strip").cloneNode(true);  // of an emotion that the program does not know
  made.ariaLabel = name; made.style.setProperty("--hue", "var(--soft)");
  made.querySelector(".name").title = name; made.querySelector(".name span").textContent = name;
  document.querySelector("#timeline [data-group]").append(made);
  by("emotions").append(new Option("", name));
  return made;
}
function paint(keep) {
  list.sort((a, b) => a.onset - b.onset || a.offset - b.offset);
  for (const old of all(".bar, .card, #rows tr")) old.remove();
  list.forEach((one, index) => {
    const begin = start(one.onset), end = stop(one.offset), inside = one.apex >= one.onset && one.apex <= one.offset;
    const times = [begin, inside ? start(one.apex) : NaN, end], where = strip(one.name), hue = where.style.getPropertyValue("--hue");
    const note = changed(one) && `✎ ${changed(one)}`, words = `${one.name}, ${note || `score ${one.score}`}, ${clock(begin, 2)} to ${clock(end, 2)}`;
    const [bar, card, row] = [".bar", ".card", "tr"].map((kind) => blank.querySelector(kind).cloneNode(true));
    for (const made of [bar, card, row]) { made.dataset.expression = index; made.style.setProperty("--hue", hue); }
    for (const made of [bar, card, row.querySelector("button")]) made.ariaLabel = words;
    bar.title = words; bar.classList.toggle("edited", note !== "");
    Object.assign(bar.style, { left: `${100 * begin / seconds}%`, width: `${100 * (end - begin) / seconds}%`, zIndex: 1 + list.filter((other) => other.offset - other.onset > one.offset - one.onset).length });
    bar.firstElementChild.style.left = `${100 * (times[1] - begin) / (end - begin)}%`;
    bar.firstElementChild.hidden = !inside;
    where.querySelector(".plot").prepend(bar);
    card.querySelector("b").textContent = one.name;
    card.querySelector("small").textContent = `${note || one.score} · ${clock(begin, 2)}`;
    if (one.image) card.prepend(Object.assign(new Image(), { src: one.image, alt: "" }));
    document.querySelector(".cards").append(card);
    Object.assign(row.dataset, { begin, end, name: one.name, score: note || one.score, hue, frames: [one.onset, one.apex, one.offset].map((frame) => frame + first).join(" ") });
    row.querySelector("button").textContent = one.name;
    row.cells[1].textContent = note || one.score;
    [one.onset, one.apex, one.offset].forEach((frame, at) => {
      const cell = row.cells[2 + at], small = cell.querySelector("small");
      small.textContent = `frame ${frame + first}`;
      cell.replaceChildren(...(Number.isNaN(times[at]) ? ["–"] : [clock(times[at], 2), small]));
    });
    by("rows").append(row);
  });
  for (const one of all(".strip:not(.axis)")) one.querySelector("small").textContent = `${all(".bar", one).length || "none"} found`;
  by("lists").hidden = !list.length;
  collect();
  chosen = -1;
  if (keep) select(list.indexOf(keep), false);
  draw();
  tell();
}
function tell() {
  const count = (what) => list.filter((one) => changed(one).includes(what)).length;
  const parts = [[count("moved"), "moved"], [count("renamed"), "renamed"], [count("added"), "added"], [removed, "deleted"]];
  by("changes").textContent = parts.filter(([number]) => number).map(([number, what]) => `${number} ${what}`).join(", ") + (saved ? "" : " – not saved");
  const one = list[chosen], values = one ? [one.name, clock(start(one.onset), 3), clock(stop(one.offset), 3)] : ["", "", ""];
  fields.forEach((field, at) => { field.value = values[at]; field.disabled = !one; field.ariaInvalid = "false"; });
  document.querySelector('[data-edit="remove"]').disabled = !one;
  document.querySelector('[data-edit="undo"]').disabled = !undone.length;
}

// ---- Changed
function remember() { undone.push(JSON.stringify([list, removed])); saved = false; }
function change(one, values) {
  const next = { ...one, ...values };
  next.onset = Math.min(Math.max(next.onset, 0), frames - 1);
  next.offset = Math.min(Math.max(next.offset, next.onset), frames - 1);
  if (next.name === one.name && next.onset === one.onset && next.offset === one.offset) return;
  remember();
  paint(Object.assign(one, next));
}
function add(name, time) {
  remember();
  const onset = nearest(time, start), offset = Math.max(onset, nearest(Math.min(time + 0.5, seconds), stop));
  const one = { name, onset, apex: -1, offset, score: "–", was: null };
  list.push(one);
  paint(one);
}
function remove(one) {
  remember();
  removed += one.was ? 1 : 0;
  list = list.filter((other) => other !== one);
  paint(null);
}
function undo() {
  if (!undone.length) return;
  [list, removed] = JSON.parse(undone.pop());
  paint(null);
}
const commonest = () => list[chosen]?.name ?? all(".strip:not(.axis)")[0].ariaLabel;

// ---- Saved
function formula(text) { return /^\s*[=+\-@＝＋－＠]/.test(text) ? `'${text}` : text; }  // for spreadsheets
function csv() {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const { subject, video: name } = edit.dataset, who = [subject, name].map(formula);
  const rows = list.map((one) => [...who, one.onset + first, one.apex < one.onset || one.apex > one.offset ? "" : one.apex + first,
    one.offset + first, start(one.onset).toFixed(6), stop(one.offset).toFixed(6), formula(one.name), changed(one)]);
  const header = ["subject", "video", "onset", "apex", "offset", "onset_seconds", "offset_seconds", "emotion", "changed"];
  return [header, ...(rows.length ? rows : [[...who, ...Array(7).fill("")]])].map((row) => row.map(String).map(quoted).join(",") + "\n").join("");
}
function eaf() {
  const file = document.implementation.createDocument(null, "ANNOTATION_DOCUMENT"), root = file.documentElement;
  const make = (above, tag, attributes, text = "") => {
    const made = file.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text; above.append(made);
    return made;
  };
  for (const [name, value] of Object.entries({ AUTHOR: "fedn_jax", DATE: new Date().toISOString(), FORMAT: "3.0", VERSION: "3.0" })) root.setAttribute(name, value);
  root.setAttributeNS("http://www.w3.org/2001/XMLSchema-instance", "xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd");
  const header = make(root, "HEADER", { MEDIA_FILE: "", TIME_UNITS: "milliseconds" }), order = make(root, "TIME_ORDER", {});
  make(header, "MEDIA_DESCRIPTOR", { MEDIA_URL: edit.dataset.file, MIME_TYPE: "video/*", RELATIVE_MEDIA_URL: `./${edit.dataset.file}` });
  make(header, "PROPERTY", { NAME: "lastUsedAnnotationId" }, String(list.length));
  const edges = list.map((one) => { const begin = Math.round(1000 * start(one.onset)); return [begin, Math.max(begin + 1, Math.round(1000 * stop(one.offset)))]; });
  const slots = edges.flatMap((pair, index) => pair.map((time, side) => ({ time, key: `${index} ${side}` }))).sort((a, b) => a.time - b.time);
  slots.forEach((slot, at) => make(order, "TIME_SLOT", { TIME_SLOT_ID: `ts${at + 1}`, TIME_VALUE: slot.time }));
  const slot = (index, side) => `ts${1 + slots.findIndex((one) => one.key === `${index} ${side}`)}`;
  const names = all(".strip:not(.axis)").map((one) => one.ariaLabel), taken = new Set(names);
  for (const name of names) {
    const lanes = [[]];  // on a tier nothing may overlap
    list.forEach((one, index) => {
      if (one.name !== name) return;
      const lane = lanes.find((some) => !some.length || edges[some.at(-1)][1] <= edges[index][0]) ?? lanes[lanes.push([]) - 1];
      lane.push(index);
    });
    lanes.forEach((lane, at) => {
      let id = name;
      for (let number = 2; at && taken.has(id); number++) id = `${name}-${number}`;
      taken.add(id);
      const who = edit.dataset.subject ? { PARTICIPANT: edit.dataset.subject } : {};
      const tier = make(root, "TIER", { TIER_ID: id, LINGUISTIC_TYPE_REF: "expression", ...who });
      for (const index of lane) {
        const times = { TIME_SLOT_REF1: slot(index, 0), TIME_SLOT_REF2: slot(index, 1) };
        make(make(make(tier, "ANNOTATION", {}), "ALIGNABLE_ANNOTATION", { ANNOTATION_ID: `a${index + 1}`, ...times }), "ANNOTATION_VALUE", {}, name);
      }
    });
  }
  make(root, "LINGUISTIC_TYPE", { LINGUISTIC_TYPE_ID: "expression", TIME_ALIGNABLE: "true", CONTROLLED_VOCABULARY_REF: "emotions" });
  make(root, "LANGUAGE", { LANG_ID: "und", LANG_LABEL: "undetermined (und)" });
  const choices = make(root, "CONTROLLED_VOCABULARY", { CV_ID: "emotions" });
  make(choices, "DESCRIPTION", { LANG_REF: "und" });
  names.forEach((name, at) => make(make(choices, "CV_ENTRY_ML", { CVE_ID: `cveid${at}` }), "CVE_VALUE", { LANG_REF: "und" }, name));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(file)}\n`;
}
function save(kind) {
  const content = new Blob([{ csv, eaf }[kind]()], { type: kind === "csv" ? "text/csv" : "application/xml" });
  const page = decodeURIComponent(location.pathname.split("/").at(-1)).replace(/\.[^.]*$/, "");  // several videos may have one name
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: `${page || "video"}_corrected.${kind}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  saved = true;
  tell();
}

// ---- Mouse and keys
function timeAt(event, plot) {
  const box = plot.getBoundingClientRect();
  return seconds * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
}
edit.addEventListener("click", (event) => {
  const what = event.target.closest("[data-edit]")?.dataset.edit;
  if (what === "toggle") {
    correcting = !correcting;
    document.body.classList.toggle("correcting", correcting);
    event.target.setAttribute("aria-pressed", correcting);
    by("editing").hidden = by("keys").hidden = !correcting;
    tell();
  } else if (what === "add") add(commonest(), now);
  else if (what === "remove") remove(list[chosen]);
  else if (what === "undo") undo();
  else if (what) save(what);
});
fields.forEach((field) => field.addEventListener("change", () => {
  const one = list[chosen], text = field.value.trim(), time = typed(text);
  const wrong = field.id === "emotion" ? !text : Number.isNaN(time);
  field.ariaInvalid = String(wrong);
  if (!one || wrong) return;
  change(one, { emotion: () => ({ name: text }), onset: () => ({ onset: nearest(time, start) }), offset: () => ({ offset: nearest(time, stop) }) }[field.id]());
}));
timeline.addEventListener("pointerdown", (event) => {
  const bar = event.target.closest(".bar");
  if (!correcting || !bar || event.button) return;
  const box = bar.getBoundingClientRect(), edge = Math.min(8, box.width / 3), plot = bar.closest(".plot"), one = list[number(bar)];
  const side = event.clientX < box.left + edge ? "onset" : event.clientX > box.right - edge ? "offset" : "both";
  drag = { bar, plot, one, side, from: timeAt(event, plot), values: {} };
  bar.setPointerCapture(event.pointerId);
});
timeline.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const { bar, plot, one, side, from } = drag, shift = timeAt(event, plot) - from;
  let onset = side === "offset" ? one.onset : nearest(start(one.onset) + shift, start);
  let offset = side === "onset" ? one.offset : nearest(stop(one.offset) + shift, stop);
  if (side === "both") {  // the length stays, in frames
    onset = Math.min(onset, frames - 1 - (one.offset - one.onset));
    offset = onset + one.offset - one.onset;
  }
  if (side === "onset") onset = Math.min(onset, offset); else offset = Math.max(onset, offset);
  drag.values = { onset, offset };
  bar.style.left = `${100 * start(onset) / seconds}%`;
  bar.style.width = `${100 * (stop(offset) - start(onset)) / seconds}%`;
});
timeline.addEventListener("pointerup", () => {
  if (!drag) return;
  const { one, values } = drag;
  drag = null;
  change(one, values);
});
timeline.addEventListener("pointercancel", () => { if (drag) paint(drag.one); drag = null; });
timeline.addEventListener("dblclick", (event) => {
  const plot = event.target.closest(".strip:not(.axis) .plot");
  if (correcting && plot && !event.target.closest(".bar")) add(plot.closest(".strip").ariaLabel, timeAt(event, plot));
});
document.addEventListener("keydown", (event) => {
  if (!correcting || event.target.matches("input, video")) return;
  const one = list[chosen], step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], key = event.key.toLowerCase();
  let done = true;
  if (step && one && (event.altKey || event.shiftKey)) {
    change(one, event.altKey && event.shiftKey ? { onset: Math.min(one.onset + step, one.offset) } : event.shiftKey ? { offset: one.offset + step }
      : one.onset + step < 0 || one.offset + step >= frames ? {} : { onset: one.onset + step, offset: one.offset + step });
  } else if (key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) done = false;
  else if (key === "n") add(commonest(), now);
  else if (one && (key === "delete" || key === "backspace")) remove(one);
  else if (one && key === "[") change(one, { onset: Math.min(nearest(now, start), one.offset) });
  else if (one && key === "]") change(one, { offset: nearest(now, stop) });
  else done = false;
  if (done) { event.preventDefault(); event.stopPropagation(); }
}, true);
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
