"use strict";

const board = document.getElementById("board");
const heads = [...board.tHead.rows[0].cells];
const rows = [...board.tBodies[0].rows];
const words = document.getElementById("words");
const dataset = document.getElementById("dataset");
const task = document.getElementById("task");
const count = document.getElementById("count");
const hint = document.querySelector(".hint");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

function valueOf(row, column) {
  const cell = row.cells[column];
  const best = heads[column].dataset.best;
  if (best === "text") return cell.textContent.trim();
  const text = cell.dataset.number ?? cell.textContent.trim();
  return text === "" ? NaN : Number(text);
}

function compare(one, other, sign) {
  if (typeof one === "string") return sign * one.localeCompare(other, "en", { numeric: true });
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return sign * (one - other);
}

function sort(column) {
  const head = heads[column];
  const first = head.dataset.best === "high" ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
  const sign = order === "ascending" ? 1 : -1;
  const sorted = [...rows].sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
  board.tBodies[0].append(...sorted);
}

function filter() {
  const shown = heads.map(
    (head) =>
      !head.dataset.task ||
      ((!dataset.value || head.dataset.dataset === dataset.value) && (!task.value || head.dataset.task === task.value)),
  );
  const chosen = heads.map((head, i) => Boolean(head.dataset.task) && shown[i]);
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  heads.forEach((head, i) => (head.hidden = !shown[i]));
  for (const row of rows) {
    [...row.cells].forEach((cell, i) => (cell.hidden = !shown[i]));
    const isNamed = wanted.every((word) => row.dataset.words.includes(word));
    const isMeasured = [...row.cells].some((cell, i) => chosen[i] && cell.dataset.number !== undefined);
    row.hidden = !(isNamed && isMeasured);
    left += row.hidden ? 0 : 1;
  }
  count.textContent = left === rows.length ? `${rows.length} rows` : `${left} of ${rows.length} rows`;
}

function buttonOf(section) {
  return board.querySelector(`button[aria-controls="${section.id}"]`);
}

function open(section, isOpen) {
  section.hidden = !isOpen;
  buttonOf(section).setAttribute("aria-expanded", String(isOpen));
  hint.hidden = document.querySelector(".checkpoint:not([hidden])") !== null;
  const target = isOpen ? section : buttonOf(section);
  target.focus({ preventScroll: true });
  target.scrollIntoView({ behavior: isCalm.matches ? "auto" : "smooth", block: isOpen ? "start" : "center" });
}

heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => sort(i)));
for (const input of [words, dataset, task]) input.addEventListener("input", filter);
words.form.addEventListener("submit", (event) => event.preventDefault());
for (const section of document.querySelectorAll(".checkpoint")) {
  section.hidden = true;
  hint.hidden = false;
  buttonOf(section).addEventListener("click", () => open(section, section.hidden));
  section.querySelector(".close").addEventListener("click", () => open(section, false));
}
filter();
const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (named?.classList.contains("checkpoint")) open(named, true);
