"use strict";
const all = (selector, from = document) => [...from.querySelectorAll(selector)], by = (id) => document.getElementById(id);
const video = by("video"), timeline = by("timeline"), axis = by("axis"), seconds = Number(timeline.dataset.seconds);
let expressions = [], marks = [], groups = [];
const limit = 2 ** Math.max(0, Math.min(6, Math.ceil(Math.log2(seconds / 15))));  // of the zoom
let now = 0, shown = null, zoom = 1, chosen = -1;

function collect() {  // what the page lists, at the start and after each correction
  expressions = all("#rows tr").map((row) => ({ ...row.dataset, begin: Number(row.dataset.begin), end: Number(row.dataset.end) }));
  marks = expressions.map((_, index) => all(`[data-expression="${index}"]`));
  groups = all("[data-group]").map((group) => all("button", group).sort((a, b) => number(a) - number(b)));
  for (const group of groups) group.forEach((button, index) => { button.tabIndex = index ? -1 : 0; });
  for (const button of all("[data-step]")) button.disabled = !expressions.length;
  shown = null;
}
function number(element) { return Number(element.closest("[data-expression]").dataset.expression); }
function clock(time, digits) {
  const unit = 10 ** digits, ticks = Math.round(time * unit), minutes = Math.floor(ticks / unit / 60);
  const rest = (ticks / unit - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}
function draw() {
  if (video) now = video.currentTime;
  by("playhead").firstElementChild.style.left = `${100 * Math.min(now / seconds, 1)}%`;
  by("clock").textContent = clock(now, 2);
  const inside = expressions.filter((one) => one.begin <= now && now < one.end), key = inside.map((one) => one.expression).join();
  if (key === shown) return;
  shown = key;
  for (const old of all(".now")) old.classList.remove("now");
  for (const one of inside) for (const mark of marks[one.expression]) mark.classList.add("now");
  by("current").replaceChildren(...inside.map((one) => {
    const line = document.createElement("div"), name = document.createElement("b");
    name.textContent = one.name; name.style.setProperty("--hue", one.hue); line.append(name, ` ${one.score}`);
    return line;
  }));
}
function place() { return axis.offsetLeft + axis.offsetWidth * now / seconds - timeline.scrollLeft; }
function seen() { return place() >= axis.offsetLeft && place() <= timeline.clientWidth; }
function centre() { timeline.scrollLeft += place() - timeline.clientWidth / 2; }
function seek(time) {
  now = time;
  if (video) video.currentTime = time;
  draw();
  if (!seen()) centre();
}
function select(index, go = true) {
  chosen = index;
  for (const old of all("#rows tr[aria-current], button[aria-current]")) old.removeAttribute("aria-current");
  for (const mark of marks[chosen]) mark.setAttribute("aria-current", "true");
  for (const group of groups) for (const button of group) button.tabIndex = number(button) === chosen ? 0 : -1;
  if (typeof tell === "function") tell();  // the fields of the editor
  if (!go) return;
  seek(expressions[chosen].begin + 0.002);  // past the rounding of the file's clock, so that the onset frame is shown
  for (const mark of marks[chosen]) {
    const box = mark.closest(".box"), head = mark.matches("tr") ? 40 : 0;
    if (!box) continue;
    const top = mark.getBoundingClientRect().top - box.getBoundingClientRect().top, bottom = top + mark.offsetHeight;
    if (top < head || bottom > box.clientHeight) box.scrollTop += top - (box.clientHeight - mark.offsetHeight) / 2;
  }
  by("player").scrollIntoView({ block: "nearest" });
}
function rescale() {
  timeline.style.setProperty("--zoom", zoom);
  const room = 64 * seconds / axis.offsetWidth;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800].find((s) => s >= room) || 3600 * Math.ceil(room / 3600);
  axis.replaceChildren(...Array.from({ length: Math.floor(seconds / step) + 1 }, (_, index) => {
    const tick = document.createElement("span");
    tick.style.left = `${100 * index * step / seconds}%`; tick.textContent = clock(index * step, step < 1 ? 1 : 0);
    return tick;
  }));
  for (const button of all("[data-zoom]")) button.disabled = button.dataset.zoom > 1 ? zoom >= limit : zoom <= 1;
}

document.addEventListener("click", (event) => {
  const mark = event.target.closest("[data-expression]"), plot = event.target.closest(".plot"), button = event.target.closest("button");
  if (mark) return select(number(mark));
  if (button?.dataset.zoom) {
    zoom = Math.min(Math.max(zoom * button.dataset.zoom, 1), limit);
    rescale();
    centre();
  } else if (button?.dataset.step) {
    const step = Number(button.dataset.step), there = chosen >= 0 && Math.abs(now - expressions[chosen].begin) < 0.01;
    const after = expressions.findIndex((one) => one.begin > now), before = expressions.findLastIndex((one) => one.begin < now);
    select(((there ? chosen + step : step > 0 ? Math.max(after, 0) : before) + expressions.length) % expressions.length);
  } else if (plot) {
    const box = plot.getBoundingClientRect();
    seek(seconds * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
  }
});
document.addEventListener("keydown", (event) => {  // one tab stop per group; arrows move inside
  const group = groups.find((buttons) => buttons.includes(event.target)) || [], at = group.indexOf(event.target);
  const to = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: group.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  if (!group[to]) return;
  event.target.tabIndex = -1; group[to].tabIndex = 0; group[to].focus();
});
addEventListener("resize", () => { rescale(); if (!seen()) centre(); });
collect();
rescale();
draw();

async function load() {  // a Blob, since browsers seek badly in data: URLs
  const parts = [];
  for (const piece of all("script.media")) {
    const text = atob(piece.textContent), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    parts.push(bytes);
    piece.remove();
    await new Promise((go) => setTimeout(go));
  }
  video.src = URL.createObjectURL(new Blob(parts, { type: video.dataset.mime }));
}
if (video) {
  let frame = 0;
  const follow = () => {
    const visible = seen();  // a person who has scrolled away is left alone
    draw();
    if (visible && !seen()) centre();
    cancelAnimationFrame(frame);
    if (!video.paused) frame = requestAnimationFrame(follow);
  };
  for (const name of ["play", "timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(name, name === "play" ? follow : draw);
  video.addEventListener("error", () => { by("problem").textContent = "This browser cannot play the video of this page."; });
  document.addEventListener("DOMContentLoaded", load);
}
