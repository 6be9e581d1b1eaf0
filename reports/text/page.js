"use strict";
(() => {
  const all = (root, query) => Array.from(root.querySelectorAll(query));
  const missing = new Set(["", "–", "missing"]);
  const natural = new Intl.Collator("en", { numeric: true });

  // what a cell is sorted by: its exact value, else its text
  const keyOf = (row, at) => {
    const cell = row.cells[at];
    return cell === undefined ? "" : (cell.dataset.value ?? cell.textContent).trim();
  };
  const numberOf = (text) => (/^[+-]?[\d.]/.test(text) ? parseFloat(text.replace(/,/g, "")) : NaN);

  const compare = (a, b, sign) => {
    if (missing.has(a) || missing.has(b)) return missing.has(a) - missing.has(b); // always last
    const [x, y] = [numberOf(a), numberOf(b)];
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? natural.compare(a, b) : x - y);
  };

  const sortable = (table) => {
    const heads = all(table, "thead th");
    const bodies = Array.from(table.tBodies);
    const home = bodies.map((body) => Array.from(body.rows));
    const sort = (at, way) => {
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      home.forEach((rows, i) => bodies[i].append(...rows)); // as it was written
      table.classList.toggle("sorted", way !== "");
      if (way) {
        heads[at].setAttribute("aria-sort", way);
        const sign = way === "ascending" ? 1 : -1;
        const rows = home.flat().filter((row) => !row.classList.contains("family"));
        const keys = new Map(rows.map((row) => [row, keyOf(row, at)]));
        bodies[0].append(...rows.sort((a, b) => compare(keys.get(a), keys.get(b), sign)));
      }
      all(table, "tr.family").forEach((row) => { row.hidden = way !== ""; });
      const section = table.closest("section.table");
      if (section) section.dispatchEvent(new Event("refilter"));
    };
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort";
      button.append(...head.childNodes);
      const arrow = document.createElement("i");
      arrow.className = "arrow";
      button.insertBefore(arrow, button.querySelector("small"));
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        sort(at, now === null ? first : now === first ? second : "");
      });
    });
  };

  const filters = (form) => {
    const section = form.closest("section.table");
    const boxes = all(form, "input[name=column]");
    const output = form.querySelector("output");
    const families = new Map(all(section, ".main tr[data-row]")
      .map((row) => [row.dataset.row, row.dataset.family]));
    const apply = () => {
      const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const family = form.elements.family ? form.elements.family.value : "";
      const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
      const shown = new Set(Array.from(families.keys()).filter((name) =>
        words.every((word) => name.toLowerCase().includes(word))
        && (family === "" || families.get(name) === family)));
      all(section, "[data-row], [data-column], [data-columns]").forEach((part) => {
        const { row, column, columns } = part.dataset;
        const hide = (row !== undefined && !shown.has(row)) || (column !== undefined && off.has(column))
          || (columns !== undefined && columns.split(" ").some((one) => off.has(one)));
        if (part instanceof SVGElement) part.style.display = hide ? "none" : "";
        else part.hidden = hide;
      });
      all(section, ".main tbody").forEach((body) => {
        const title = body.querySelector("tr.family");
        if (title) title.hidden = body.parentElement.classList.contains("sorted")
          || all(body, "tr[data-row]").every((row) => row.hidden);
      });
      const models = off.size ? `, ${boxes.length - off.size} of ${boxes.length} models` : "";
      output.textContent = shown.size < families.size || off.size
        ? `${shown.size} of ${families.size} tasks${models}; best and second are of all models` : "";
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
    section.addEventListener("refilter", apply);
  };

  all(document, "table.sortable").forEach(sortable);
  all(document, "form.filters").forEach(filters);

  // a click on a score shows its runs and their records
  const panel = document.querySelector("output.runs");
  const show = (cell) => {
    const head = all(cell.closest("table"), "thead th")[cell.cellIndex];
    const model = head.querySelector("button").firstChild.textContent.trim();
    const lines = cell.dataset.runs.split(";").filter(Boolean).map((run) => {
      const [seed, score, id] = run.split(" ");
      return `seed ${seed}  ${score}  records/${id}.json`;
    });
    panel.textContent = [`${model} on ${cell.parentElement.dataset.row}`, ...lines].join("\n");
    panel.hidden = false;
  };
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-runs]");
    if (cell) show(cell);
    else if (!event.target.closest("output.runs")) panel.hidden = true;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") panel.hidden = true;
    if (event.key === "Enter" && event.target.matches("td[data-runs]")) show(event.target);
  });
  all(document, "td[data-runs]").forEach((cell) => { cell.tabIndex = 0; });

  // what is folded is printed all the same
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all(document, "details:not([open])");
    folded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
