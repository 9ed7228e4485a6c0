// Theme: the reader's choice is kept where the browser allows it; without one the system decides.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const stored = () => { try { return localStorage.getItem("seqbench-theme"); } catch { return null; } };
const applyTheme = (theme) => {
  if (theme) root.dataset.theme = theme;
  root.classList.toggle("dark", (theme || (systemDark.matches ? "dark" : "light")) === "dark"); // DataTables reads it
};
applyTheme(stored());
systemDark.addEventListener("change", () => applyTheme(stored()));
document.getElementById("theme").addEventListener("click", () => {
  const next = root.classList.contains("dark") ? "light" : "dark";
  try { localStorage.setItem("seqbench-theme", next); } catch { /* a file opened from disk may have no storage */ }
  applyTheme(next);
});

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try { await navigator.clipboard.writeText(source.textContent); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(source); button.textContent = "Selected"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

function download(name, lines) {
  const field = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Tables: plain HTML first, made sortable by the DataTables bundle that is embedded once.
const source = document.getElementById("datatables");
if (source) {
  const url = URL.createObjectURL(new Blob([source.textContent], { type: "text/javascript" }));
  const { default: DataTable } = await import(url);
  URL.revokeObjectURL(url);
  for (const element of document.querySelectorAll("table.data")) {
    const sort = element.dataset.sort;
    const table = new DataTable(element, {
      pageLength: 25,
      order: sort === undefined ? [] : [[Number(sort), element.dataset.direction]],
      autoWidth: false,
      layout: { topStart: null, topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
      language: { thousands: "," },
    });
    const tools = document.querySelector(`.tools[data-for="${element.id}"]`);
    // Exact filters on what a cell shows first, whatever small print follows it.
    const shown = (index, column) => {
      const cell = table.cell(index, column).node();
      return cell.dataset.text ?? cell.textContent;
    };
    const chosen = new Map();
    table.search.fixed("menus", (_text, _data, index) =>
      [...chosen].every(([column, value]) => !value || shown(index, column) === value));
    for (const menu of tools.querySelectorAll("select")) {
      const column = Number(menu.dataset.column);
      const values = new Set(table.rows().indexes().toArray().map((i) => shown(i, column)));
      for (const value of values) menu.add(new Option(value, value));
      menu.value = values.has(menu.dataset.start) ? menu.dataset.start : "";
      chosen.set(column, menu.value);
      menu.addEventListener("change", () => { chosen.set(column, menu.value); table.draw(); });
    }
    table.draw();
    tools.querySelector("button.csv").addEventListener("click", () => {
      const head = [...element.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
      const rows = table.rows({ search: "applied" }).nodes().toArray();
      download(`${element.id}.csv`, [head, ...rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))]);
    });
  }
  root.dataset.ready = "yes"; // tests wait for it
}
