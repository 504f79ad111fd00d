
"use strict";
(() => {
  const options = {
    renderer: "svg",
    ast: true,
    actions: { export: true, source: false, compiled: false, editor: false },
    tooltip: { theme: "light" },
  };

  async function draw() {
    for (const holder of document.querySelectorAll(".chart")) {
      try {
        const spec = JSON.parse(document.getElementById(holder.dataset.spec).textContent);
        const bind = document.getElementById(holder.dataset.controls);
        await vegaEmbed(holder, spec, { ...options, bind });
      } catch (error) {
        console.error(error);
        holder.classList.add("failed");
        holder.textContent = "This chart could not be drawn: " + error.message;
      }
    }
    document.documentElement.dataset.charts = "drawn";
  }

  function hint() {
    for (const box of document.querySelectorAll(".scroll")) {
      const text = box.parentElement.querySelector(".hint");
      if (text) text.hidden = box.scrollWidth <= box.clientWidth + 1;
    }
  }

  function orderOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.order ?? cell.textContent;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sort(table, column, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [orderOf(row, column), row]);
    rows.sort(([a], [b]) =>
      a === "" || b === "" || !down ? compare(a, b) : compare(b, a));
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  function filter(table) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    label.className = "filter";
    input.type = "search";
    label.append("Rows with", input);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.parentElement.before(label);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      // A span, as Chromium prints no button in the heading that it repeats per page.
      const button = document.createElement("span");
      button.role = "button";
      button.tabIndex = 0;
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, column, head));
      button.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        sort(table, column, head);
      });
      head.replaceChildren(button);
    });
    if (table.tBodies[0].rows.length >= 24) filter(table);
  }
  for (const form of document.querySelectorAll("form.controls")) {
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  hint();
  window.addEventListener("resize", hint);
  draw();
})();
