"use strict";

// Runs as a file of comma-separated values, for other programs.
const csv = (() => {
  /** @type {(value: Value) => string} */
  function cell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    // A text that begins like a formula would be computed by a spreadsheet.
    const text = format.whole(value).replace(/^(?=[=+\-@\t\r])/, "'");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  /** @type {(list: Run[], shown: Column[]) => string} */
  function text(list, shown) {
    const rows = list.map((run) =>
      shown.map((column) => cell(Number.isNaN(column.value(run)) ? null : column.value(run))).join(","),
    );
    return `${[shown.map((column) => cell(column.key)).join(","), ...rows].join("\r\n")}\r\n`;
  }

  /** @type {(name: string, content: string) => void} */
  function save(name, content) {
    const url = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    dom.make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  return { text, save };
})();
