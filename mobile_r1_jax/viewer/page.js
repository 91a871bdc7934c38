"use strict";

// Filters: show each trajectory that matches all chosen filters.
const strips = [...document.querySelectorAll("article.strip")];
const partButtons = [...document.querySelectorAll("[data-choose-part]")];
const endingButtons = [...document.querySelectorAll("[data-choose-ending]")];
const offPathButton = document.querySelector("[data-choose-off-path]");
const forgetButton = document.querySelector("[data-forget-task]");
const chosen = { part: "", ending: "", offPath: false, task: "", title: "" };

const fits = (strip, wanted) =>
  (!wanted.part || strip.dataset.part === wanted.part) &&
  (!wanted.ending || strip.dataset.ending === wanted.ending) &&
  (!wanted.offPath || "offPath" in strip.dataset) &&
  (!wanted.task || strip.dataset.task === wanted.task);

const count = (changes) => strips.filter((strip) => fits(strip, { ...chosen, ...changes })).length;

function press(button, pressed, number) {
  button.setAttribute("aria-pressed", pressed);
  const small = button.querySelector("small");
  if (number !== undefined) small.textContent = number;
}

function show() {
  for (const strip of strips) strip.hidden = !fits(strip, chosen);
  for (const part of document.querySelectorAll("section.part")) {
    const other = chosen.part && part.dataset.part !== chosen.part;
    part.hidden = other || (!part.querySelector("article:not([hidden])") && Boolean(chosen.ending || chosen.offPath || chosen.task));
  }
  for (const button of partButtons) press(button, button.dataset.choosePart === chosen.part);
  for (const button of endingButtons) {
    const ending = button.dataset.chooseEnding;
    press(button, ending === chosen.ending, count({ ending }));
  }
  if (offPathButton) press(offPathButton, chosen.offPath, count({ offPath: true }));
  if (forgetButton) {
    forgetButton.hidden = !chosen.task;
    forgetButton.textContent = `task: ${chosen.title} ✕`;
  }
  const status = document.querySelector(".count");
  if (status) status.textContent = `${count({})} of ${strips.length} on this page`;
}

function choose(changes) {
  Object.assign(chosen, changes);
  show();
}

for (const button of partButtons) {
  button.addEventListener("click", () => choose({ part: button.dataset.choosePart }));
}
for (const button of endingButtons) {
  const ending = button.dataset.chooseEnding;
  button.addEventListener("click", () => choose({ ending: chosen.ending === ending ? "" : ending }));
}
offPathButton?.addEventListener("click", () => choose({ offPath: !chosen.offPath }));
forgetButton?.addEventListener("click", () => choose({ task: "" }));
for (const strip of strips) {
  const button = strip.querySelector("button.task"); // missing if the trajectory has no task id
  button?.addEventListener("click", () => {
    choose({ task: strip.dataset.task, title: button.textContent, part: "", ending: "", offPath: false });
    document.querySelector(".count").scrollIntoView({ block: "start" });
  });
}

// The page opens on the trajectory in the URL, else on the last evaluation, else on everything.
const evaluations = partButtons.filter((button) => button.dataset.choosePart.startsWith("evaluation"));
const named = document.getElementById(location.hash.slice(1));
choose({ part: named?.dataset.part ?? evaluations.at(-1)?.dataset.choosePart ?? "" });
if (named) named.scrollIntoView();

// Curves: the values under the pointer.
for (const figure of document.querySelectorAll(".curve")) {
  const svg = figure.querySelector("svg");
  const output = figure.querySelector("output");
  const [line, dot] = svg.querySelectorAll(".cursor");
  const points = svg.dataset.points.split(" ").map((point) => point.split(","));
  const last = output.textContent;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const nearest = points.reduce((best, point) => (Math.abs(point[3] - at) < Math.abs(best[3] - at) ? point : best));
    const [step, value, mean, x, y] = nearest;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    output.textContent = `${step}: ${value}, smoothed ${mean}`;
    svg.classList.add("hovered");
  });
  svg.addEventListener("pointerleave", () => {
    output.textContent = last;
    svg.classList.remove("hovered");
  });
}
