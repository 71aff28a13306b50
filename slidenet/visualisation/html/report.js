"use strict";
// Sorts and filters tables. The page is whole without it: nothing is loaded, nothing is kept.

const LONG_TABLE = 15;

function numberIn(text) {
  const found = text.replaceAll(",", "").match(/-?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return found ? Number(found[0]) : Number.NEGATIVE_INFINITY;
}

function sortBy(table, heads, chosen) {
  const head = heads[chosen];
  const descends = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descends ? "descending" : "ascending");
  const body = table.tBodies[0];
  const sign = descends ? -1 : 1;
  const numeric = head.classList.contains("number");
  const keyed = Array.from(body.rows, (row) => {
    const text = row.cells[chosen].textContent;
    return { row, key: numeric ? numberIn(text) : text };
  });
  keyed.sort((a, b) =>
    numeric ? sign * (a.key - b.key || 0) : sign * a.key.localeCompare(b.key, "en", { numeric: true })
  );
  body.append(...keyed.map((one) => one.row));
}

for (const table of document.querySelectorAll("table.sorts")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, heads, number));
    head.setAttribute("aria-sort", "none");
    head.append(button);
  });
  if (table.tBodies[0].rows.length < LONG_TABLE) continue;
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
  label.append("Rows with: ", input);
  table.parentElement.before(label);
}

window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
