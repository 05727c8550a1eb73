"use strict";

// Runs of one setting together: the mean of each metric, and how far it is spread, over seeds or anything else.
const pageGroups = (() => {
  /**
   * @typedef {{ key: string, label: string, model: string, runs: Run[] }} Group
   */

  const SETTING = "setting";

  /** @type {(main: HTMLElement, parameters: URLSearchParams) => Forget} */
  function show(main, parameters) {
    main.className = "list";
    document.title = "Groups of runs";
    pageRuns.read(parameters);
    const by = dom.make("select", {});
    by.value = SETTING;
    let wanted = parameters.get("by") ?? SETTING;
    /** @type {Group[]} */
    let groups = [];

    /** @type {() => Column[]} */
    const possible = () =>
      runs
        .columns()
        .filter(
          (column) =>
            column.kind === "parameter" || ["user", "host", "commit", "data", "target", "tags"].includes(column.key),
        );

    /** @type {(run: Run) => string} */
    function labelOf(run) {
      if (wanted !== SETTING) {
        const column = runs.byKey(wanted);
        return column ? runs.show(column, run) || "none" : "none";
      }
      const telling = columns.telling(
        runs.columns().filter((column) => column.kind === "parameter" && (column.distinct?.size ?? 0) > 1),
      );
      const seedless = telling.filter((column) => column.name !== "seed");
      return (
        seedless
          .filter((column) => (column.value(run) ?? null) !== null)
          .map((column) => `${column.label}=${runs.show(column, run)}`)
          .join("  ") || "the same"
      );
    }

    function collect() {
      /** @type {Map<string, Group>} */
      const found = new Map();
      for (const run of pageRuns.matching().list) {
        const label = labelOf(run);
        const key = `${run.model}\n${label}`;
        const group = found.get(key) ?? { key, label, model: run.model, runs: [] };
        found.set(key, group);
        group.runs.push(run);
      }
      groups = [...found.values()];
    }

    /** @type {(group: Group, metric: string) => number[]} */
    const values = (group, metric) =>
      group.runs.flatMap((run) => {
        const value = runs.own(run.metrics, metric);
        return typeof value === "number" && Number.isFinite(value) ? [value] : [];
      });
    /** @type {(found: number[]) => number} */
    const mean = (found) => found.reduce((sum, value) => sum + value, 0) / found.length;
    // Of a sample: by one less than there are.
    /** @type {(found: number[]) => number} */
    const spread = (found) => {
      const middle = mean(found);
      return found.length > 1
        ? Math.sqrt(found.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (found.length - 1))
        : 0;
    };

    /** @type {Field<Group>} */
    const field = listing.field;
    /** @type {() => Column<Group>[]} */
    function fields() {
      const metrics = [...new Set(groups.flatMap((group) => group.runs.flatMap((run) => Object.keys(run.metrics))))]
        .sort()
        .slice(0, 8);
      return [
        field("group", (group) => group.label, { label: wanted === SETTING ? "setting" : wanted }),
        field("model", (group) => group.model),
        field("runs", (group) => group.runs.length, { numeric: true }),
        ...metrics.map((metric) => {
          const means = groups.map((group) => mean(values(group, metric))).filter(Number.isFinite);
          return /** @type {Column<Group>} */ ({
            kind: "metric",
            name: metric,
            key: `metrics.${metric}`,
            label: metric,
            numeric: true,
            value: (group) => (values(group, metric).length ? mean(values(group, metric)) : null),
            show: (group) => {
              const found = values(group, metric);
              if (!found.length) return "";
              return found.length > 1
                ? `${format.number(mean(found))} \u00b1 ${format.number(Number(spread(found).toPrecision(2)))}`
                : format.number(found[0]);
            },
            best: runs.best(metric, means),
          });
        }),
      ];
    }

    /** @type {(group: Group) => string} */
    const address = (group) =>
      group.runs.length === 1 ? grid.address(group.runs[0]) : runs.compareAddress(group.runs.map(runs.key));
    const table = listing.create({
      kind: {
        label: "Groups",
        noun: "group",
        pinned: "group",
        width: "minmax(340px, 1fr)",
        selectable: false,
        all: () => groups,
        key: (group) => group.key,
        name: (group) => group.label,
        address,
        lives: () => false,
      },
      columns: fields,
      sort: "runs",
      open: (group) => (location.hash = address(group)),
      placeholder: "Find a group",
      tools: [dom.make("label", {}, "by ", by)],
    });

    function refresh() {
      dom.fill(
        by,
        dom.make("option", { value: SETTING }, "setting (all but the seed)"),
        possible().map((column) => dom.make("option", { value: column.key }, column.key)),
      );
      by.value = wanted;
      collect();
      table.refresh();
    }
    function own() {
      const found = pageRuns.parameters();
      if (wanted !== SETTING) found.set("by", wanted);
      return `#/groups${found.size ? `?${found}` : ""}`;
    }
    by.addEventListener("change", () => {
      wanted = by.value;
      history.replaceState(null, "", own());
      refresh();
    });
    dom.fill(
      main,
      dom.make(
        "div",
        { class: "toolbar" },
        dom.make("a", { class: "back", href: `#/?${pageRuns.parameters()}` }, "\u2190 runs"),
        dom.make("h1", {}, "Groups of runs"),
        dom.make("span", { class: "dim wide-only" }, "mean \u00b1 standard deviation"),
        dom.make("span", { class: "space" }),
        views.button(own),
      ),
      table.element,
    );
    refresh();
    keys.set([
      { key: "Escape", does: "go back to the runs", run: () => (location.hash = `#/?${pageRuns.parameters()}`) },
    ]);
    return runs.onChange(refresh);
  }

  return { show };
})();
