"use strict";

// Pipeline jobs, and one of them with its graph.
const pagePipelines = (() => {
  /**
   * @typedef {{ served: boolean, pipelines: Pipeline[] }} Content
   */

  const content = () => /** @type {Section<Content> | undefined} */ (loop.get("pipelines"))?.content;
  const known = () => content()?.pipelines ?? [];
  /** @type {(pipeline: Pipeline) => string} */
  const address = (pipeline) => `#/pipeline/${encodeURIComponent(pipeline.id)}`;

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    /** @type {Field<Pipeline>} */
    const field = listing.field;
    /** @type {(one: Pipeline) => string} */
    const done = (one) =>
      `${one.tasks.filter((task) => task.state === "succeeded" || task.state === "skipped").length} of ${one.tasks.length}`;
    const fields = [
      field("pipeline", (one) => one.id),
      field("name", (one) => one.name),
      field("status", (one) => one.state, { label: "state" }),
      field("tasks", done),
      field("created", (one) => one.created, { show: (one) => format.time(one.created), time: true }),
      field("took", pageJobs.seconds, { show: (one) => format.duration(pageJobs.seconds(one)), numeric: true }),
      field("error", (one) => one.error),
    ];
    const refresh = listing.page(main, {
      kind: {
        label: "Pipelines",
        noun: "pipeline",
        pinned: "pipeline",
        width: "260px",
        selectable: false,
        all: known,
        key: (one) => one.id,
        name: (one) => one.id,
        address,
        lives: (one) => one.ended === null,
      },
      columns: () => fields,
      sort: "created",
      open: (one) => (location.hash = address(one)),
      placeholder: "Find a pipeline: running, a name",
      nothing: () => loop.missing("pipelines", "pipelines") ?? [loop.stale("pipelines"), absence()],
    });
    return loop.watch("pipelines", refresh);
  }

  // Why there is no pipeline to show, if there is none.
  /** @type {() => Child} */
  function absence() {
    const found = content();
    if (found && !found.served)
      return dom.empty(
        "No pipelines here",
        dom.make(
          "p",
          {},
          "The API answers UNIMPLEMENTED: what serves this repository's target runs no pipelines. Those of Google Cloud are shown with its target:",
        ),
        dom.command("EDGE_TARGET=gcp invoke dashboard"),
      );
    return (
      !known().length &&
      dom.empty(
        "No pipelines yet",
        dom.make("p", {}, "A pipeline job that somebody creates in this project and region appears here."),
      )
    );
  }

  // -- one of them --

  const BOX = { width: 168, height: 52, across: 56, down: 22 };

  // Each task stands one column after the last of those before it.
  /** @type {(tasks: Task[]) => Map<string, number>} */
  function layers(tasks) {
    const byName = new Map(tasks.map((task) => [task.name, task]));
    /** @type {Map<string, number>} */
    const found = new Map();
    /** @type {(name: string, path: Set<string>) => number} */
    function layer(name, path) {
      const before = found.get(name);
      if (before !== undefined) return before;
      const task = byName.get(name);
      // A graph that goes round in circles is none, and must not hang the page.
      if (!task || path.has(name)) return -1;
      const mine = 1 + Math.max(-1, ...task.after.map((one) => layer(one, new Set([...path, name]))));
      found.set(name, mine);
      return mine;
    }
    for (const task of tasks) layer(task.name, new Set());
    return found;
  }

  /** @type {(tasks: Task[]) => HTMLElement} */
  function graph(tasks) {
    const columns = layers(tasks);
    /** @type {Map<number, number>} */
    const filled = new Map();
    const places = new Map(
      tasks.map((task) => {
        const column = columns.get(task.name) ?? 0;
        const row = filled.get(column) ?? 0;
        filled.set(column, row + 1);
        return [task.name, { x: column * (BOX.width + BOX.across), y: row * (BOX.height + BOX.down) }];
      }),
    );
    const width = (Math.max(0, ...columns.values()) + 1) * (BOX.width + BOX.across) - BOX.across;
    const height = Math.max(1, ...filled.values()) * (BOX.height + BOX.down) - BOX.down;
    const svg = marks.shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    const stage = dom.make("div", { class: "graph" }, svg);
    stage.style.width = `${width}px`;
    stage.style.height = `${height}px`;
    for (const task of tasks) {
      const to = places.get(task.name);
      if (!to) continue;
      for (const name of task.after) {
        const from = places.get(name);
        if (!from) continue;
        const [x1, y1, x2, y2] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
        const middle = (x1 + x2) / 2;
        svg.append(marks.shape("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }));
      }
      const took = pageJobs.seconds(task);
      const box = dom.make(
        "div",
        { class: `task task-${/^[a-z_]+$/.test(task.state) ? task.state : "unknown"}`, title: task.error ?? task.name },
        dom.make("span", { class: "step-title" }, task.title),
        dom.make(
          "span",
          { class: "step-more" },
          dom.status(task.state),
          Number.isNaN(took) ? "" : ` ${format.duration(took)}`,
        ),
      );
      box.style.transform = `translate(${to.x}px, ${to.y}px)`;
      stage.append(box);
    }
    return dom.make(
      "div",
      { class: "wide graph-frame", tabindex: 0, role: "region", "aria-label": "The tasks and what comes before each" },
      stage,
    );
  }

  /** @type {(main: HTMLElement, id: string) => Forget} */
  function showOne(main, id) {
    main.className = "pipeline";
    document.title = id;
    const body = dom.make("div", {});
    dom.fill(main, body);
    let shown = "";

    function refresh() {
      const found = known().find((one) => one.id === id);
      const signature = JSON.stringify([found, loop.get("pipelines")?.problem]);
      if (signature === shown) return;
      shown = signature;
      const missing = loop.missing("pipelines", "pipeline");
      dom.fill(
        body,
        dom.make(
          "header",
          { class: "run-head" },
          dom.make("a", { class: "back", href: "#/pipelines" }, "\u2190 all pipelines"),
          dom.make("h1", {}, id),
          found && headOf(found),
        ),
        missing ?? (!found && dom.empty("There is no such pipeline job")),
        found?.error &&
          dom.make(
            "section",
            { class: "failure" },
            dom.make("h2", {}, "Why it did not succeed"),
            dom.make("pre", { tabindex: 0 }, found.error),
          ),
        found && found.tasks.length > 0 && dom.section("Tasks", graph(found.tasks), tasksTable(found.tasks)),
        found &&
          Object.keys(found.parameters).length > 0 &&
          dom.section(
            "Parameters",
            dom.pairs(Object.entries(found.parameters).map(([name, value]) => [name, format.plain(value)])),
          ),
      );
    }

    /** @type {(found: Pipeline) => HTMLElement} */
    function headOf(found) {
      return dom.make(
        "div",
        { class: "line" },
        dom.status(found.state),
        dom.make("span", {}, found.name),
        dom.make("span", {}, dom.make("span", { class: "dim" }, "created "), dom.time(found.created)),
      );
    }

    /** @type {(tasks: Task[]) => HTMLElement} */
    function tasksTable(tasks) {
      return dom.make(
        "div",
        { class: "wide", tabindex: 0, role: "region", "aria-label": "Tasks, one by one" },
        dom.table(
          ["task", "state", "began", "took", "after", "error"],
          tasks.map((task) => [
            dom.make("th", { scope: "row" }, task.title),
            dom.status(task.state),
            dom.make("td", { class: "nowrap" }, dom.time(task.started)),
            dom.make("td", { class: "nowrap" }, format.duration(pageJobs.seconds(task))),
            task.after.join(", "),
            task.error ?? "",
          ]),
        ),
      );
    }

    refresh();
    keys.set([{ key: "Escape", does: "go back to all pipelines", run: () => (location.hash = "#/pipelines") }]);
    return loop.watch("pipelines", refresh);
  }

  return { show, showOne };
})();
