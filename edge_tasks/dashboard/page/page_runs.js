"use strict";

// The table of all runs.
const pageRuns = (() => {
  // What stays when the user comes back from a run: what is selected, and how far the table was scrolled.
  /** @type {ReturnType<typeof grid.create<Run>> | null} */
  let lastTable = null;
  let place = { top: 0, left: 0 };
  let focused = false;

  // Ids of runs sort by time.
  const NEWEST = "run";
  const settings = { text: "", status: "", model: "", sort: NEWEST, descending: true };

  /** @type {(parameters: URLSearchParams) => void} */
  function read(parameters) {
    settings.text = parameters.get("filter") ?? "";
    settings.status = parameters.get("status") ?? "";
    settings.model = parameters.get("model") ?? "";
    settings.sort = parameters.get("sort") ?? NEWEST;
    settings.descending = parameters.get("order") ? parameters.get("order") === "down" : settings.sort === NEWEST;
    columns.tell(parameters.getAll("column"));
  }

  function parameters() {
    const found = new URLSearchParams();
    if (settings.text) found.set("filter", settings.text);
    if (settings.status) found.set("status", settings.status);
    if (settings.model) found.set("model", settings.model);
    if (settings.sort !== NEWEST || !settings.descending) {
      found.set("sort", settings.sort);
      found.set("order", settings.descending ? "down" : "up");
    }
    for (const key of columns.told ?? []) found.append("column", key);
    return found;
  }

  // The address tells what is shown, so that it can be passed on; typing makes no history.
  function write() {
    const found = parameters().toString();
    history.replaceState(null, "", `#/${found ? `?${found}` : ""}`);
  }

  // While a filter is being written and makes no sense yet, the one before it holds.
  let sound = "";

  function matching() {
    const asked = query.parse(settings.text);
    if (asked.problem === null) sound = settings.text;
    const parsed = asked.problem === null ? asked : query.parse(sound);
    const list = runs
      .list()
      .filter(
        (run) =>
          (!settings.status || run.status === settings.status) &&
          (!settings.model || run.model === settings.model) &&
          parsed.test(run),
      );
    return { list, problem: asked.problem };
  }

  /** @type {(main: HTMLElement, wanted: URLSearchParams) => Forget} */
  function show(main, wanted) {
    read(wanted);
    document.title = "Runs";

    const filter = dom.make("input", {
      type: "search",
      id: "filter",
      value: settings.text,
      placeholder: "Filter: words, accuracy > 0.9, user = ada",
      "aria-label": "Filter the runs: words, or comparisons such as accuracy > 0.9",
      "aria-describedby": "filter-problem",
      autocomplete: "off",
      spellcheck: "false",
    });
    const problem = dom.make("div", { id: "filter-problem", class: "filter-problem", role: "status" });
    const statuses = dom.make("div", { class: "choices", role: "group", "aria-label": "Status" });
    const models = dom.make("select", { "aria-label": "Model" });
    const columnsButton = dom.make("button", { type: "button" }, "Columns");
    const groups = dom.make("a", { class: "button", href: "#/groups", title: "Mean and spread over seeds" }, "Groups");
    const save = dom.make("button", { type: "button", title: "Save the runs shown as CSV" }, "CSV");
    save.addEventListener("click", () => {
      const list = query.sorted(matching().list, sortColumn(), settings.descending, runs.kind.key);
      csv.save("runs.csv", csv.text(list, runs.columns()));
    });
    const compareAll = dom.make("a", { class: "button", href: "#/compare" }, "Compare all");
    const saved = views.button(() => {
      const found = parameters();
      found.delete("column");
      for (const key of columns.chosen) found.append("column", key);
      return `#/${found.size ? `?${found}` : ""}`;
    });
    const count = dom.make("span", { class: "dim", role: "status" });
    const toolbar = dom.make(
      "div",
      { class: "toolbar" },
      filter,
      models,
      dom.make("span", { class: "space" }),
      columnsButton,
      saved,
      save,
      groups,
      compareAll,
    );
    const statusBar = dom.make("div", { class: "toolbar" }, statuses, count);
    const selection = dom.make("div", { class: "selection", role: "region", "aria-label": "Selected runs" });
    const nothing = dom.make("div", {});

    const selectedBefore = lastTable?.selected ?? new Set();
    const activeBefore = lastTable?.active ?? null;
    const table = grid.create(
      {
        sort(column) {
          if (settings.sort === column.key) settings.descending = !settings.descending;
          else
            Object.assign(settings, {
              sort: column.key,
              descending: column.kind === "metric" || column.time || column.key === NEWEST,
            });
          write();
          refresh();
        },
        open: (run) => (location.hash = grid.address(run)),
        selection: () => showSelection(),
      },
      runs.kind,
    );
    lastTable = table;
    for (const key of selectedBefore) table.selected.add(key);

    dom.fill(
      main,
      dom.make("h1", { class: "visually-hidden" }, "Runs"),
      toolbar,
      problem,
      statusBar,
      nothing,
      table.element,
      selection,
    );
    main.className = "runs";

    const sortColumn = () => runs.column(settings.sort) ?? runs.column(NEWEST) ?? runs.columns()[0];

    function refresh() {
      const some = runs.size > 0;
      toolbar.hidden = statusBar.hidden = !some;
      const sort = sortColumn();
      const { list, problem: wrong } = matching();
      table.element.hidden = !list.length;
      const shown = columns.shown();
      for (const column of shown) {
        if (column.kind !== "metric") continue;
        const having = list.filter((run) => typeof column.value(run) === "number");
        // No model is better than another one by a metric of the same name: their data differ.
        const comparable = having.every((run) => run.model === having[0].model);
        column.best = comparable
          ? runs.best(
              column.name,
              having.map((run) => Number(column.value(run))),
            )
          : undefined;
      }
      table.setColumns(shown, { key: sort.key, descending: settings.descending });
      table.setRuns(query.sorted(list, sort, settings.descending, runs.kind.key));
      dom.fill(problem, wrong && dom.sentence(wrong));
      filter.setAttribute("aria-invalid", String(wrong !== null));
      dom.setText(count, list.length === runs.size ? "" : `${format.count(list.length, "run")} shown`);
      compareAll.href = `#/compare?${parameters()}`;
      groups.href = `#/groups?${parameters()}`;
      compareAll.hidden = list.length < 2;
      dom.fill(nothing, !some ? noRuns() : list.length ? null : noMatch());
      showChoices();
      showSelection();
    }

    function noRuns() {
      if (!source.state.loaded) return dom.empty("Looking for runs\u2026");
      if (!source.state.live)
        return dom.empty(
          "No runs were exported",
          dom.make("p", {}, "Export again after a training:"),
          dom.command("invoke dashboard --export DIR"),
        );
      const model = source.state.place?.models?.[0] ?? "MODEL";
      return dom.empty(
        "No runs yet",
        dom.make("p", {}, "Every training is recorded, and appears here while it is running:"),
        dom.command(`dvc repro models/${model}/dvc.yaml`),
        dom.command(`python models/${model}/train.py with is_vertex=False`),
      );
    }

    function noMatch() {
      const clear = dom.make("button", { type: "button" }, "Show all runs");
      clear.addEventListener("click", clearFilter);
      return dom.empty(
        "No run matches",
        dom.make("p", {}, `None of ${format.count(runs.size, "run")} is what the filter asks for.`),
        clear,
      );
    }

    function clearFilter() {
      Object.assign(settings, { text: "", status: "", model: "" });
      filter.value = "";
      write();
      refresh();
    }

    function showChoices() {
      /** @type {Map<string, number>} */
      const counts = new Map();
      /** @type {Set<string>} */
      const found = new Set();
      for (const run of runs.list()) {
        counts.set(run.status, (counts.get(run.status) ?? 0) + 1);
        found.add(run.model);
      }
      const order = ["queued", "running", "completed", "failed", "interrupted", "died"];
      const known = [...counts.keys()].sort((one, other) => order.indexOf(one) - order.indexOf(other));
      const focus = [...statuses.children].find((button) => button === document.activeElement);
      const held = focus?.getAttribute("data-status") ?? null;
      /** @type {(name: string, label: Child, amount: number) => HTMLElement} */
      const choice = (name, label, amount) => {
        const button = dom.make(
          "button",
          { type: "button", "aria-pressed": settings.status === name ? "true" : "false", "data-status": name },
          label,
          dom.make("span", { class: "amount" }, amount.toLocaleString("en")),
        );
        button.addEventListener("click", () => {
          settings.status = settings.status === name ? "" : name;
          write();
          refresh();
        });
        return button;
      };
      dom.fill(
        statuses,
        choice("", "all", runs.size),
        known.map((name) => choice(name, dom.status(name), counts.get(name) ?? 0)),
      );
      for (const button of statuses.querySelectorAll("button")) if (button.dataset.status === held) button.focus();

      const names = [...found].sort();
      models.hidden = names.length < 2;
      const options = ["", ...names];
      if (
        [...models.options].map((option) => option.value).join("\n") !== options.join("\n") ||
        !models.options.length
      ) {
        dom.fill(
          models,
          options.map((name) => dom.make("option", { value: name }, name || "all models")),
        );
      }
      models.value = settings.model;
    }

    function showSelection() {
      const chosen = [...table.selected].filter((key) => runs.get(key));
      selection.hidden = chosen.length === 0;
      const clear = dom.make("button", { type: "button" }, "Clear");
      clear.addEventListener("click", clearSelection);
      const [only] = chosen.flatMap((key) => runs.get(key) ?? []);
      const open =
        chosen.length === 1
          ? dom.make("a", { class: "button primary", href: grid.address(only) }, "Open")
          : dom.make("a", { class: "button primary", href: runs.compareAddress(chosen) }, "Compare");
      const all = chosen.flatMap((key) => runs.get(key) ?? []);
      const changes = source.allowed
        ? [
            action("Tag\u2026", () => describe.tag(all, clearSelection)),
            action("Remove\u2026", () => describe.remove(all, clearSelection)),
          ]
        : null;
      dom.fill(selection, dom.make("span", {}, `${format.count(chosen.length, "run")} selected`), open, changes, clear);
    }

    /** @type {(label: string, run: () => void) => HTMLElement} */
    function action(label, run) {
      const button = dom.make("button", { type: "button" }, label);
      button.addEventListener("click", run);
      return button;
    }

    function clearSelection() {
      table.selected.clear();
      table.draw();
      showSelection();
      table.focus();
    }

    filter.addEventListener("input", () => {
      settings.text = filter.value;
      write();
      refresh();
    });
    filter.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "ArrowDown") {
        event.preventDefault();
        table.focus();
        if (table.active === null && table.grid.querySelector(".grid-row:not([hidden])")) table.moveTo(firstKey());
      }
    });
    const firstKey = () => runs.key(query.sorted(matching().list, sortColumn(), settings.descending, runs.kind.key)[0]);
    models.addEventListener("change", () => {
      settings.model = models.value;
      write();
      refresh();
    });
    const chooseColumns = () => columns.open(() => (write(), refresh()));
    columnsButton.addEventListener("click", chooseColumns);

    function compare() {
      const chosen = [...table.selected].filter((key) => runs.get(key));
      if (chosen.length > 1) location.hash = runs.compareAddress(chosen);
    }

    keys.set([
      { key: "/", does: "write a filter", run: () => filter.select() },
      { key: "\u2193", shown: "\u2193 \u2191 or j k", does: "go through the runs (with Shift: and select them)" },
      { key: "Enter", does: "open the run" },
      { key: " ", shown: "Space", does: "select the run" },
      { key: "c", does: "compare the selected runs", run: compare },
      { key: "o", does: "choose the columns", run: chooseColumns },
      {
        key: "Escape",
        does: "leave the filter; clear the selection",
        run: () => {
          if (document.activeElement === filter) table.focus();
          else clearSelection();
        },
      },
    ]);

    refresh();
    table.scroll = place;
    if (activeBefore) table.moveTo(activeBefore);
    if (activeBefore || focused) table.focus();

    const forgetRuns = runs.onChange(() => refresh());
    // Running runs grow older although nothing is reported.
    const forgetState = source.onChange(() => (runs.size ? table.draw() : refresh()));
    return () => {
      place = table.scroll;
      focused = true;
      forgetRuns();
      forgetState();
    };
  }

  return { show, matching, read, parameters };
})();
