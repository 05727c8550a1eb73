"use strict";

// The versions of data that runs were trained on, and what came of each.
const pageData = (() => {
  /**
   * @typedef {{ version: string, models: string[], runs: Run[], first: string, last: string, versions: number, serving: string[] }} Used
   */

  /** @type {() => Used[]} */
  function known() {
    /** @type {Map<string, Used>} */
    const found = new Map();
    for (const run of runs.list()) {
      if (!run.data) continue;
      let used = found.get(run.data);
      if (!used) {
        used = {
          version: run.data,
          models: [],
          runs: [],
          first: run.created,
          last: run.created,
          versions: 0,
          serving: [],
        };
        found.set(run.data, used);
      }
      used.runs.push(run);
      if (!used.models.includes(run.model)) used.models.push(run.model);
      if (run.created < used.first) used.first = run.created;
      if (run.created > used.last) used.last = run.created;
      if (run.version) used.versions++;
      if (run.serving) used.serving.push(run.serving);
    }
    return [...found.values()];
  }

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    let all = known();
    /** @type {Field<Used>} */
    const field = listing.field;
    const fields = [
      field("data", (one) => one.version),
      field("models", (one) => one.models.join(", ")),
      field("runs", (one) => one.runs.length, { numeric: true }),
      field("versions", (one) => one.versions, { numeric: true }),
      field("first used", (one) => one.first, { show: (one) => format.time(one.first), time: true }),
      field("last used", (one) => one.last, { show: (one) => format.time(one.last), time: true }),
      field("serving", (one) => one.serving.join(", ") || null),
    ];
    const render = listing.page(main, {
      kind: {
        label: "Data",
        noun: "version",
        pinned: "data",
        width: "190px",
        selectable: false,
        all: () => all,
        key: (one) => one.version,
        name: (one) => one.version,
        address: (one) => `#/data/${encodeURIComponent(one.version)}`,
        lives: () => false,
      },
      columns: () => fields,
      sort: "last used",
      open: (one) => (location.hash = `#/data/${encodeURIComponent(one.version)}`),
      placeholder: "Find data: a model, a version",
      nothing: () =>
        !all.length &&
        dom.empty(
          source.state.loaded ? "No versioned data yet" : "Looking for runs\u2026",
          source.state.loaded &&
            dom.make("p", {}, "A run records the versions of its data when its DVC stage depends on them."),
        ),
    });
    function refresh() {
      all = known();
      render();
    }
    const ends = [runs.onChange(refresh), source.onChange(() => !all.length && refresh())];
    return () => ends.forEach((end) => end());
  }

  /** @type {(main: HTMLElement, version: string) => Forget} */
  function showOne(main, version) {
    main.className = "data";
    document.title = `Data ${version}`;
    const files = dom.make("div", {});
    const body = dom.make("div", {});
    let asked = "";
    let ended = false;
    dom.fill(
      main,
      dom.make(
        "header",
        { class: "run-head" },
        dom.make("a", { class: "back", href: "#/data" }, "\u2190 all data"),
        dom.make("h1", {}, version, " ", dom.copyButton(version, "the version")),
      ),
      files,
      body,
    );

    async function refresh() {
      const used = known().find((one) => one.version === version);
      dom.fill(
        body,
        used ? usedBy(used) : dom.empty(source.state.loaded ? "No run was trained on it" : "Looking for runs\u2026"),
      );
      const newest = used && query.newestFirst(used.runs)[0];
      if (!newest || asked === runs.key(newest)) return;
      asked = runs.key(newest);
      try {
        const details = await source.details(newest, Number.MAX_SAFE_INTEGER);
        if (!ended)
          dom.fill(
            files,
            dom.section(
              "Files",
              dom.pairs(Object.entries(details.data_files).map(([path, hash]) => [path, dom.make("code", {}, hash)])),
            ),
          );
      } catch {
        // its files are told by the runs, too
      }
    }

    /** @type {(used: Used) => Child[]} */
    function usedBy(used) {
      const newest = query.newestFirst(used.runs).slice(0, 20);
      return [
        dom.section(
          "What came of it",
          lineage.draw(
            "Runs, versions and endpoints of this data",
            newest.map((run) => [
              ...lineage.steps({ model: run.model, run: run.id }),
              lineage.versionStep(run.model, run.version),
              lineage.endpointStep(run.serving, null),
            ]),
          ),
          dom.make(
            "p",
            { class: "dim" },
            used.runs.length > newest.length ? `The ${newest.length} newest. ` : "",
            dom.make(
              "a",
              { href: `#/?filter=${encodeURIComponent(`data=${version}`)}` },
              format.count(used.runs.length, "run"),
            ),
          ),
        ),
      ];
    }

    refresh();
    keys.set([{ key: "Escape", does: "go back to all data", run: () => (location.hash = "#/data") }]);
    const forget = runs.onChange(refresh);
    return () => {
      ended = true;
      forget();
    };
  }

  return { show, showOne };
})();
