"use strict";

// Which columns the table shows: what the user chose, else what tells the runs apart.
const columns = (() => {
  const MOST_METRICS = 5;
  const MOST_PARAMETERS = 6;
  const ALWAYS = "run";
  // Parameters that every training has, and that seldom explain a difference.
  const LEFT_OUT = new Set(["seed", "is_vertex", "model_name"]);

  /** @type {string[] | null} */
  let chosen = null;
  try {
    chosen = JSON.parse(theme.kept.get("columns") ?? "null");
  } catch {
    // a broken choice is not a choice
  }
  if (!Array.isArray(chosen)) chosen = null;
  // Those of a view: they stand in the page's address, and change nothing that this browser has kept.
  /** @type {string[] | null} */
  let told = null;

  // Those that explain a difference; the others when there are no such.
  /** @type {(found: Column[]) => Column[]} */
  function telling(found) {
    const usual = found.filter((column) => !LEFT_OUT.has(column.name));
    return usual.length ? usual : found.filter((column) => column.name !== "model_name");
  }

  function standard() {
    const every = runs.columns();
    /** @type {(name: "model" | "user") => boolean} */
    const varied = (name) => new Set(runs.list().map((run) => run[name])).size > 1;
    const fields = ["run", "status", varied("model") && "model", "started", "took", varied("user") && "user", "commit"];
    if (runs.list().some((run) => run.name)) fields.push("name");
    if (runs.list().some((run) => run.tags.length)) fields.push("tags");
    if (runs.list().some((run) => run.serving)) fields.push("serving");
    const all = every.filter((column) => column.kind === "parameter");
    const usual = all.filter((column) => !LEFT_OUT.has(column.name));
    // Runs that differ in their seed alone are told apart by it.
    const differing = telling(all.filter((column) => (column.distinct?.size ?? 0) > 1));
    // Those that most runs have: of several models each has its own, and the first by name may be of one run alone.
    const metrics = every
      .filter((column) => column.kind === "metric")
      .sort((one, other) => (other.numbers ?? 0) - (one.numbers ?? 0))
      .slice(0, MOST_METRICS);
    const parameters = (differing.length ? differing : usual).slice(0, MOST_PARAMETERS);
    const wanted = new Set([
      ...fields,
      ...metrics.map((column) => column.key),
      ...parameters.map((column) => column.key),
    ]);
    return every.filter((column) => wanted.has(column.key));
  }

  function shown() {
    const keys = told ?? chosen;
    if (keys === null) return standard();
    const wanted = new Set([ALWAYS, ...keys]);
    return runs.columns().filter((column) => wanted.has(column.key));
  }

  /** @type {(keys: string[] | null) => void} */
  function choose(keys) {
    if (told !== null && keys !== null) {
      told = keys;
      return;
    }
    told = null;
    chosen = keys;
    theme.kept.set("columns", JSON.stringify(keys));
  }

  // Open the list of all columns; `changed` is called after each choice.
  /** @type {(changed: () => void) => void} */
  function open(changed) {
    const search = dom.make("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column" });
    const lists = dom.make("div", { class: "column-lists" });
    const groups = { field: "Run", metric: "Metrics", parameter: "Parameters" };

    function build() {
      const wanted = search.value.trim().toLowerCase();
      const visible = new Set(shown().map((column) => column.key));
      /** @type {(kind: string) => HTMLElement[]} */
      const boxes = (kind) =>
        runs
          .columns()
          .filter(
            (column) => column.kind === kind && column.key !== ALWAYS && column.label.toLowerCase().includes(wanted),
          )
          .map((column) => {
            const box = dom.make("input", { type: "checkbox", checked: visible.has(column.key) });
            box.addEventListener("change", () => {
              const now = new Set(shown().map((some) => some.key));
              if (box.checked) now.add(column.key);
              else now.delete(column.key);
              choose([...now]);
              changed();
            });
            return dom.make("label", {}, box, " ", column.label);
          });
      dom.fill(
        lists,
        Object.entries(groups).map(([kind, title]) => {
          const found = boxes(kind);
          return found.length ? dom.make("fieldset", {}, dom.make("legend", {}, title), found) : null;
        }),
      );
    }

    const standardButton = dom.make("button", { type: "button" }, "Standard columns");
    standardButton.addEventListener("click", () => {
      choose(null);
      changed();
      build();
    });
    search.addEventListener("input", build);
    build();
    const dialog = dom.make(
      "dialog",
      { class: "columns", "aria-label": "Columns" },
      dom.make("h2", {}, "Columns"),
      search,
      lists,
      dom.make(
        "form",
        { method: "dialog", class: "buttons" },
        standardButton,
        dom.make("button", { class: "primary" }, "Done"),
      ),
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  }

  return {
    telling,
    shown,
    open,
    get told() {
      return told;
    },
    /** @type {(keys: string[]) => void} */
    tell: (keys) => {
      told = keys.length ? keys : null;
    },
    // What others see when they are told: what is chosen; nothing while the columns are the usual ones.
    get chosen() {
      return told ?? chosen ?? [];
    },
  };
})();
