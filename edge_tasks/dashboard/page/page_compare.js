"use strict";

// Several runs side by side: curves laid over each other, parallel coordinates, and what differs.
const pageCompare = (() => {
  // More curves than this cannot be told apart, and each is fetched by itself.
  const MOST_CURVES = 20;
  const MOST_IN_TABLE = 50;
  const MOST_AXES = 12;

  /** @type {(main: HTMLElement, parameters: URLSearchParams) => Forget} */
  function show(main, parameters) {
    main.className = "compare";
    document.title = "Compare runs";
    const named = parameters.getAll("run");
    if (!named.length) pageRuns.read(parameters);

    const chosen = () =>
      named.length ? named.flatMap((key) => runs.get(key) ?? []) : query.newestFirst(pageRuns.matching().list);

    const title = dom.make("h1", {});
    const legend = dom.make("ul", { class: "legend", "aria-label": "Runs" });
    const chart = curves.create();
    const curveControls = chart.controls();
    const curveNote = dom.make("p", { class: "dim" });
    const brushedNote = dom.make("span", { class: "dim" });
    const colourBy = dom.make("select", {});
    const axesButton = dom.make("button", { type: "button" }, "Axes");
    const table = dom.make("div", {
      class: "differences",
      tabindex: 0,
      role: "region",
      "aria-label": "Values, run by run",
    });
    const onlyDiffering = dom.make("input", { type: "checkbox", checked: !parameters.has("all") });
    /** @type {Run[]} */
    let list = [];
    /** @type {Set<string> | null} */
    let axisKeys = parameters.has("axis") ? new Set(parameters.getAll("axis")) : null;
    /** @type {Map<string, { run: Run, series: Record<string, Series> }>} */
    const details = new Map();
    let ended = false;

    const coordinates = parallel.create({
      over: (run) => emphasise(run ? runs.key(run) : null),
      open: (run) => (location.hash = grid.address(run)),
      brushed: (inside) =>
        dom.setText(brushedNote, inside.length === list.length ? "" : `${inside.length} of ${list.length} inside`),
    });
    const curveSection = dom.section("Curves", curveControls, chart.element, curveNote);
    const parallelSection = dom.section(
      "Parallel coordinates",
      dom.make(
        "div",
        { class: "controls" },
        dom.make("label", {}, "colour ", colourBy),
        axesButton,
        dom.make("span", { class: "dim wide-only" }, "drag on an axis to choose a part of it, click for all"),
        brushedNote,
      ),
      coordinates.element,
    );
    const tableSection = dom.section(
      "What differs",
      dom.make(
        "div",
        { class: "controls differences-controls" },
        dom.make("label", {}, onlyDiffering, " only what differs"),
      ),
      table,
    );
    const points = scatter.create((run) => (location.hash = grid.address(run)), parameters, tell);
    const scatterSection = dom.section("Scatter", points.element);
    const sources = dom.make("div", {});
    const content = dom.make("div", {}, legend, parallelSection, curveSection, scatterSection, tableSection, sources);
    const nothing = dom.make("div", {});
    dom.fill(
      main,
      dom.make(
        "header",
        { class: "run-head" },
        dom.make("a", { class: "back", href: "#/" }, "\u2190 all runs"),
        dom.make("div", { class: "line" }, title, views.button(own)),
      ),
      nothing,
      content,
    );

    // The address tells how the plots are chosen, so that it can be passed on.
    function own() {
      return `#/compare${parameters.size ? `?${parameters}` : ""}`;
    }
    /** @type {(name: string, ...values: string[]) => void} */
    function tell(name, ...values) {
      parameters.delete(name);
      for (const value of values) parameters.append(name, value);
      history.replaceState(null, "", own());
    }

    function refresh() {
      list = chosen();
      const enough = list.length > 0;
      content.hidden = !enough;
      dom.setText(title, enough ? `${format.count(list.length, "run")} compared` : "Compare");
      dom.fill(
        nothing,
        !enough &&
          dom.empty(
            source.state.loaded ? "None of these runs is there" : "Looking for the runs\u2026",
            dom.make("a", { class: "button", href: "#/" }, "All runs"),
          ),
      );
      if (!enough) return;
      showLegend();
      showParallel();
      showTable();
      scatterSection.hidden = list.length < 3;
      if (list.length >= 3) points.set(list);
      loadCurves();
      compareSources();
    }

    // -- two runs: the lines of code that differ --

    let compared = "";
    async function compareSources() {
      const pair = list.length === 2 ? list.map(runs.key).join("\n") : "";
      if (pair === compared) return;
      compared = pair;
      dom.fill(sources);
      if (!pair) return;
      const [one, other] = list;
      try {
        const [before, after] = await Promise.all(list.map((run) => source.details(run, Number.MAX_SAFE_INTEGER)));
        const names = [...new Set([...before.files, ...after.files].map((file) => file.name))].sort();
        /** @type {(run: Run, details: Details, name: string) => Promise<string>} */
        const text = async (run, details, name) =>
          details.files.some((file) => file.name === name) ? (await source.file(run, name)).text : "";
        /** @type {Child[]} */
        const shown = [];
        for (const name of names) {
          const drawn = difference.draw(await text(one, before, name), await text(other, after, name));
          if (drawn) shown.push(dom.make("h3", {}, dom.make("code", {}, name)), drawn);
        }
        if (ended || compared !== pair) return;
        const said = names.length ? "The source files are the same." : "No source files were recorded.";
        dom.fill(sources, dom.section("Source files", shown.length ? shown : dom.make("p", { class: "dim" }, said)));
      } catch {
        compared = "";
      }
    }

    // -- the runs --

    const many = () => list.length > MOST_CURVES;

    /** @type {(index: number) => HTMLElement} */
    function swatch(index) {
      const mark = dom.make("span", { class: theme.isDashed(index) ? "swatch dashed" : "swatch" });
      mark.style.color = theme.series(index);
      return mark;
    }

    function showLegend() {
      legend.hidden = many();
      if (many()) return;
      dom.fill(
        legend,
        list.map((run, index) => {
          const mark = swatch(index);
          const remove = dom.make(
            "button",
            { type: "button", class: "quiet", "aria-label": `Leave out ${run.id}`, title: "Leave out" },
            "\u00d7",
          );
          remove.addEventListener("click", () => leaveOut(runs.key(run)));
          const item = dom.make(
            "li",
            {},
            mark,
            dom.make("a", { href: grid.address(run) }, run.id),
            dom.status(run.status),
            remove,
          );
          item.addEventListener("pointerenter", () => (emphasise(runs.key(run)), coordinates.emphasise(run)));
          item.addEventListener("pointerleave", () => (emphasise(null), coordinates.emphasise(null)));
          return item;
        }),
      );
    }

    /** @type {(key: string) => void} */
    function leaveOut(key) {
      const rest = list.map(runs.key).filter((some) => some !== key);
      parameters.delete("run");
      for (const some of rest) parameters.append("run", some);
      location.replace(own());
    }

    /** @type {(key: string | null) => void} */
    function emphasise(key) {
      if (chart.emphasised !== key) chart.emphasise(key);
      for (const cell of table.querySelectorAll("[data-run]"))
        cell.classList.toggle("over", cell.getAttribute("data-run") === key);
    }

    // -- parallel coordinates --

    /** @type {(column: Column) => boolean} */
    const differs = (column) => new Set(list.map((run) => format.whole(column.value(run)))).size > 1;

    function showParallel() {
      const possible = runs.columns().filter((column) => column.kind !== "field" || column.key === "took");
      const differing = possible.filter((column) => column.kind !== "field" && differs(column));
      // What most of these runs lack tells little, and would draw most lines to "none".
      /** @type {(column: Column) => boolean} */
      const common = (column) => list.filter((run) => (column.value(run) ?? null) !== null).length * 2 >= list.length;
      const parameters = columns.telling(differing.filter((column) => column.kind === "parameter" && common(column)));
      const found = differing.filter((column) => column.kind === "metric");
      const metrics = found.some(common) ? found.filter(common) : found;
      const standard = [...parameters.slice(0, MOST_AXES - Math.min(4, metrics.length)), ...metrics.slice(0, 4)];
      const named = axisKeys;
      const wanted =
        named === null
          ? standard
          : [...possible.filter((c) => c.kind !== "metric"), ...metrics].filter((column) => named.has(column.key));
      parallelSection.hidden = list.length < 2 || wanted.length === 0;
      if (parallelSection.hidden) return;
      const numeric = [...metrics, ...parameters].filter((column) => column.numeric);
      const before = colourBy.value;
      dom.fill(
        colourBy,
        dom.make("option", { value: "" }, many() ? "one for all" : "by run"),
        numeric.map((column) => dom.make("option", { value: column.key }, `by ${column.label}`)),
      );
      const usual = many() && numeric.length ? numeric[0].key : "";
      colourBy.value =
        colourBy.dataset.chosen === undefined ? usual : numeric.some((column) => column.key === before) ? before : "";
      coordinates.set(list, wanted, colours());
    }

    /** @type {() => (run: Run) => string} */
    function colours() {
      const column = colourBy.value ? runs.column(colourBy.value) : null;
      if (!column) {
        const places = new Map(list.map((run, index) => [runs.key(run), index]));
        return (run) => (many() ? theme.colour("series-0") : theme.series(places.get(runs.key(run)) ?? 0));
      }
      const values = list
        .map((run) => column.value(run))
        .flatMap((value) => (typeof value === "number" && Number.isFinite(value) ? value : []));
      if (!values.length) return () => theme.colour("series-0");
      const low = values.reduce((one, other) => Math.min(one, other));
      const span = values.reduce((one, other) => Math.max(one, other)) - low || 1;
      return (run) => {
        const value = column.value(run);
        if (typeof value !== "number" || !Number.isFinite(value)) return theme.colour("line-strong");
        return theme.ramp((value - low) / span);
      };
    }

    if (parameters.has("colour")) {
      colourBy.dataset.chosen = "yes";
      const told = parameters.get("colour") ?? "";
      dom.fill(colourBy, dom.make("option", { value: told }, told));
    }
    colourBy.addEventListener("change", () => {
      colourBy.dataset.chosen = "yes";
      tell("colour", colourBy.value);
      showParallel();
    });

    axesButton.addEventListener("click", () => {
      const shown = new Set(coordinates.axes);
      const possible = runs.columns().filter((column) => column.kind !== "field" || column.key === "took");
      const boxes = possible.map((column) => {
        const box = dom.make("input", { type: "checkbox", checked: shown.has(column.key) });
        box.addEventListener("change", () => {
          axisKeys ??= shown;
          if (box.checked) axisKeys.add(column.key);
          else axisKeys.delete(column.key);
          tell("axis", ...axisKeys);
          showParallel();
        });
        return dom.make("label", {}, box, " ", column.key);
      });
      const dialog = dom.make(
        "dialog",
        { class: "columns", "aria-label": "Axes" },
        dom.make("h2", {}, "Axes"),
        dom.make("div", { class: "column-lists" }, dom.make("fieldset", {}, boxes)),
        dom.make("form", { method: "dialog", class: "buttons" }, dom.make("button", { class: "primary" }, "Done")),
      );
      dialog.addEventListener("close", () => dialog.remove());
      document.body.append(dialog);
      dialog.showModal();
    });

    // -- curves --

    async function loadCurves() {
      const drawn = list.slice(0, MOST_CURVES);
      await Promise.all(
        drawn.map(async (run) => {
          const key = runs.key(run);
          const held = details.get(key);
          if (held?.run === run) return;
          try {
            const found = await source.details(run);
            details.set(key, { run, series: found.series });
          } catch {
            details.set(key, { run, series: {} });
          }
        }),
      );
      if (ended) return;
      const lines = drawn.map((run, index) => ({
        run: runs.key(run),
        label: run.id,
        colour: index,
        series: details.get(runs.key(run))?.series ?? {},
      }));
      chart.set(lines);
      curveControls.hidden = chart.size === 0;
      dom.setText(
        curveNote,
        !chart.size
          ? "None of these runs recorded a curve."
          : many()
            ? `The curves of the first ${MOST_CURVES} runs; fewer runs can be told apart better.`
            : "",
      );
    }

    // -- the table --

    function showTable() {
      const shown = list.slice(0, MOST_IN_TABLE);
      const bestOf = new Map(
        runs.columns().flatMap((column) => {
          const values = shown.flatMap((run) =>
            typeof column.value(run) === "number" ? [Number(column.value(run))] : [],
          );
          return column.kind === "metric" && new Set(values).size > 1
            ? [[column.key, runs.best(column.name, values)]]
            : [];
        }),
      );
      const head = shown.map((run, index) => {
        const mark = many() ? null : swatch(index);
        return dom.make(
          "th",
          { scope: "col", "data-run": runs.key(run) },
          mark,
          dom.make("a", { href: grid.address(run) }, run.id),
        );
      });
      /** @type {(title: string, kind: ColumnKind) => HTMLElement | null} */
      const group = (title, kind) => {
        const fields = new Set([
          "status",
          "model",
          "started",
          "took",
          "user",
          "host",
          "target",
          "commit",
          "data",
          "version",
          "serving",
        ]);
        const rows = runs
          .columns()
          .filter(
            (column) =>
              column.kind === kind &&
              (kind !== "field" || fields.has(column.key)) &&
              shown.some((run) => (column.value(run) ?? null) !== null) &&
              (!onlyDiffering.checked || differs(column)),
          );
        if (!rows.length) return null;
        return dom.make(
          "tbody",
          {},
          dom.make("tr", { class: "group" }, dom.make("th", { scope: "rowgroup", colspan: shown.length + 1 }, title)),
          rows.map((column) => {
            const different = differs(column);
            return dom.make(
              "tr",
              { class: different ? "differs" : null },
              dom.make("th", { scope: "row" }, column.label),
              shown.map((run) => {
                const text = runs.show(column, run);
                const isBest = bestOf.get(column.key) === column.value(run) && bestOf.get(column.key) !== undefined;
                const whole = format.whole(column.value(run));
                return dom.make(
                  "td",
                  {
                    class: [column.numeric && "number", isBest && "best"].filter(Boolean).join(" ") || null,
                    "data-run": runs.key(run),
                    title: whole !== text && column.kind !== "field" ? whole : null,
                  },
                  text,
                );
              }),
            );
          }),
        );
      };
      dom.fill(
        table,
        dom.make(
          "table",
          {},
          dom.make("thead", {}, dom.make("tr", {}, dom.make("td", {}), head)),
          group("metrics", "metric"),
          group("parameters", "parameter"),
          group("run", "field"),
        ),
        list.length > MOST_IN_TABLE &&
          dom.make("p", { class: "dim" }, `The first ${MOST_IN_TABLE} of ${list.length} runs.`),
      );
    }

    onlyDiffering.addEventListener("change", () => {
      tell("all", ...(onlyDiffering.checked ? [] : ["yes"]));
      showTable();
    });

    keys.set([{ key: "Escape", does: "go back to the table", run: () => (location.hash = "#/") }]);
    refresh();
    const forgetTheme = theme.onChange(() => list.length && (showLegend(), showTable()));
    const forgetRuns = runs.onChange((changed) => {
      if (!list.length || list.some((run) => changed.has(runs.key(run)))) refresh();
    });
    return () => {
      ended = true;
      forgetRuns();
      forgetTheme();
      chart.end();
      coordinates.end();
      points.end();
    };
  }

  return { show };
})();
