"use strict";
// Cells of the confusion matrix open a list of their samples; arrows move between cells.
(() => {
  const store = document.getElementById("samples");
  const opened = document.getElementById("opened");
  if (!store || !opened) return;
  const { classes, cells, missing } = JSON.parse(store.textContent);

  const element = (kind, className, text) => {
    const made = document.createElement(kind);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const show = (button) => {
    const [row, column] = button.dataset.cell.split(",").map(Number);
    const samples = cells[button.dataset.cell] || [];
    const right = row === column;
    const what = right ? `${classes[row]}, recognised` : `${classes[row]} taken for ${classes[column]}`;
    const count = Number(button.dataset.count);
    const heading = element("h3", "", what);
    heading.dir = "auto";
    const order = right ? "the least sure" : "the surest";
    const text = samples.length < count ? `${samples.length} of ${count}, ${order} first` : `All ${count}, ${order} first`;
    const note = element("p", "intro", missing && samples.some((s) => s.x === null) ? `${text}. No picture: ${missing}.` : `${text}.`);
    const list = element("ul", "samples");
    for (const sample of samples) {
      const item = element("li", "sample");
      if (sample.x !== null) {
        const thumb = element("span", "thumb");
        thumb.setAttribute("role", "img");
        thumb.setAttribute("aria-label", `${what}: ${sample.name}`);
        thumb.style.setProperty("--x", sample.x);
        thumb.style.setProperty("--y", sample.y);
        item.append(thumb);
      }
      item.append(element("p", "number", sample.confidence));
      const file = element("p", "file");
      file.append(element("bdi", "name", sample.name));
      item.append(file);
      list.append(item);
    }
    opened.replaceChildren(heading, note, list);
    opened.hidden = false;
    document.querySelectorAll("[data-cell][aria-pressed]").forEach((other) => other.removeAttribute("aria-pressed"));
    button.setAttribute("aria-pressed", "true");
    opened.scrollIntoView({ block: "nearest" });
  };

  document.querySelectorAll("[data-cell]").forEach((button) => button.addEventListener("click", () => show(button)));

  const matrix = document.querySelector("table.matrix");
  if (!matrix) return;
  const rows = [...matrix.tBodies[0].rows].map((row) => [...row.cells].slice(1, -1).map((cell) => cell.querySelector("button")));
  const buttons = rows.flat().filter(Boolean);
  const enter = (button) => {
    buttons.forEach((other) => (other.tabIndex = -1));
    button.tabIndex = 0;
  };
  if (buttons.length) enter(buttons[0]);
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const place = (button) => button.dataset.cell.split(",").map(Number);
  matrix.addEventListener("focusin", (event) => event.target.dataset.cell && enter(event.target));
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || !event.target.dataset.cell) return;
    event.preventDefault();
    let [row, column] = place(event.target);
    // Empty cells are passed over. Up and down go to the next row with any, to the cell closest to this column: so every
    // cell can be reached.
    if (step[0]) {
      for (row += step[0]; rows[row]; row += step[0]) {
        const found = rows[row].filter(Boolean);
        const far = (button) => Math.abs(place(button)[1] - column);
        if (found.length) return found.sort((a, b) => far(a) - far(b))[0].focus();
      }
    } else {
      for (column += step[1]; column in rows[row]; column += step[1]) {
        if (rows[row][column]) return rows[row][column].focus();
      }
    }
  });
})();
// On paper everything is unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
