"use strict";

// Shortcuts: each page says which it has, and `?` shows them.
const keys = (() => {
  /** @type {Shortcut[]} */
  const always = [
    { key: "?", does: "show these shortcuts", run: () => help() },
    {
      key: "t",
      does: "change between system, light and dark colours",
      run: () => dom.byId("theme").click(),
    },
    { key: "g", does: "go to the table of runs", run: () => (location.hash = "#/") },
    ...["runs", "models", "endpoints", "jobs", "pipelines", "monitoring", "data"].map((name, place) => ({
      key: String(place + 1),
      does: `go to ${name}`,
      run: () => (location.hash = place ? `#/${name}` : "#/"),
    })),
  ];
  /** @type {Shortcut[]} */
  let ofPage = [];

  /** @type {(target: Element) => boolean} */
  const typing = (target) =>
    target.matches("input, textarea, select, [contenteditable]") && !target.matches("[type=checkbox], [type=range]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const found = [...ofPage, ...always].find((shortcut) => shortcut.key === event.key && shortcut.run);
    if (!found?.run) return;
    if (event.target instanceof Element && typing(event.target) && event.key !== "Escape") return;
    event.preventDefault();
    found.run();
  });

  function help() {
    const rows = [...ofPage, ...always].map((shortcut) =>
      dom.make(
        "tr",
        {},
        dom.make("th", { scope: "row" }, dom.make("kbd", {}, shortcut.shown ?? shortcut.key)),
        dom.make("td", {}, shortcut.does),
      ),
    );
    const dialog = dom.make(
      "dialog",
      { class: "help", "aria-label": "Keyboard shortcuts" },
      dom.make("h2", {}, "Keyboard shortcuts"),
      dom.make("table", {}, dom.make("tbody", {}, rows)),
      dom.make("form", { method: "dialog" }, dom.make("button", { autofocus: true }, "Close")),
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  }

  return {
    help,
    /** @type {(shortcuts: Shortcut[]) => void} */
    set(shortcuts) {
      ofPage = shortcuts;
    },
  };
})();
