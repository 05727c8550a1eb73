"use strict";

// One run: its curves, what went in, what came out, and where it belongs.
const pageRun = (() => {
  /** @type {(main: HTMLElement, key: string) => Forget} */
  function show(main, key) {
    main.className = "run";
    const head = dom.make("header", { class: "run-head" });
    const failure = dom.make("div", {});
    const chart = curves.create();
    const curveControls = chart.controls();
    const curveEmpty = dom.make("p", { class: "dim" });
    const output = outputView.create();
    const saved = plots.view(key);
    const system = curves.create();
    const notes = dom.make("div", {});
    const drawn = dom.make("div", {});
    const files = filesView(key);
    const facts = dom.make("div", { class: "facts" });
    const metricsSection = dom.section("Curves", curveControls, chart.element, curveEmpty);
    const plotsSection = dom.section("Plots", saved.element);
    const systemSection = dom.section("What it took of its machine", system.element);
    plotsSection.hidden = systemSection.hidden = true;
    const content = dom.make(
      "div",
      { class: "run-content" },
      dom.make(
        "div",
        { class: "run-main" },
        failure,
        notes,
        drawn,
        metricsSection,
        plotsSection,
        dom.section("Output", output.element),
        dom.section("Source files", files.element),
        systemSection,
      ),
      facts,
    );
    dom.fill(main, head, content);

    /** @type {Details | null} */
    let details = null;
    let asking = false;
    let again = false;
    let ended = false;

    function refreshHead() {
      const run = runs.get(key);
      content.hidden = !run;
      if (!run) {
        document.title = "Runs";
        const known = source.state.loaded;
        dom.fill(
          head,
          dom.empty(
            known ? "There is no such run" : "Looking for the run\u2026",
            known && dom.make("p", {}, dom.make("code", {}, key)),
            known && dom.make("a", { class: "button", href: "#/" }, "All runs"),
          ),
        );
        return;
      }
      document.title = `${run.model} ${run.name ?? run.id}`;
      const facts = [
        dom.status(run.status),
        fact("model", dom.make("a", { href: pageModels.address(run.model) }, run.model)),
        fact("created", [dom.time(run.created), `, ${format.ago(run.created, runs.now())}`]),
        fact("took", format.duration(runs.seconds(run))),
        run.status === "running" && run.heartbeat && fact("last sign of life", format.ago(run.heartbeat, runs.now())),
        run.serving && dom.make("span", { class: "badge" }, `serves at ${run.serving}`),
        run.tags.map((tag) => dom.make("span", { class: "tag" }, tag)),
      ];
      dom.fill(
        head,
        dom.make("a", { class: "back", href: "#/" }, "\u2190 all runs"),
        run.name && dom.make("p", { class: "called" }, run.name),
        dom.make("h1", {}, run.id, " ", dom.copyButton(run.id, "the run's id")),
        dom.make("div", { class: "line" }, facts, changes(run)),
      );
      dom.fill(
        drawn,
        dom.section(
          "Lineage",
          lineage.draw("Where the run comes from, and what came of it", [
            [
              ...lineage.steps({ model: run.model, run: run.id, files: details?.data_files }),
              lineage.versionStep(run.model, run.version),
              lineage.endpointStep(run.serving, null),
            ],
          ]),
        ),
      );
      drawn.hidden = !run.commit && !run.version && !run.data;
    }

    /** @type {(run: Run) => Child} */
    function changes(run) {
      if (!source.allowed) return null;
      const edit = dom.make("button", { type: "button", class: "small" }, "Describe");
      edit.addEventListener("click", () => describe.edit(run, details?.notes ?? null, load));
      const remove = dom.make("button", { type: "button", class: "small" }, "Remove");
      remove.addEventListener("click", () => describe.remove([run], () => (location.hash = "#/")));
      return [dom.make("span", { class: "space" }), edit, remove];
    }

    /** @type {(name: string, value: Child) => Child} */
    const fact = (name, value) => value && dom.make("span", {}, dom.make("span", { class: "dim" }, `${name} `), value);

    function refreshFacts() {
      const run = runs.get(key);
      if (!run) return;
      /** @type {(values: Record<string, Value>) => Child[]} */
      const rows = (values) =>
        Object.entries(values)
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([name, value]) => row(name, format.plain(value) || "none", typeof value === "number"));
      /** @type {(name: string, value: Child, numeric?: boolean) => Child} */
      const row = (name, value, numeric = false) =>
        value
          ? dom.make(
              "tr",
              {},
              dom.make("th", { scope: "row" }, name),
              dom.make("td", { class: numeric ? "number" : null }, value),
            )
          : null;
      /** @type {(title: string, found: Child[]) => Child} */
      const table = (title, found) =>
        found.some(Boolean) && dom.section(title, dom.make("table", { class: "pairs" }, dom.make("tbody", {}, found)));
      /** @type {Partial<Details>} */
      const more = details ?? {};
      const changed = run.dirty ? "with changes that were not committed" : run.commit ? "as committed" : "";
      dom.fill(
        facts,
        table("Results", [
          ...rows(run.metrics),
          row("result", format.plain(more.result), typeof more.result === "number"),
        ]),
        table("Parameters", rows(run.parameters)),
        table("Comes from", [
          row(
            "commit",
            run.commit &&
              dom.make(
                "span",
                {},
                dom.make("code", {}, run.commit.slice(0, 12)),
                " ",
                dom.copyButton(run.commit, "the commit"),
              ),
          ),
          row("code", changed),
          ...Object.entries(more.data_files ?? {}).map(([path, hash]) => row(path, dom.make("code", {}, hash))),
          row(
            "repeats",
            more.reproduced_from &&
              dom.make(
                "a",
                { href: grid.address({ model: run.model, id: more.reproduced_from }) },
                more.reproduced_from,
              ),
          ),
          row("reproduce", run.commit && dom.command(`invoke experiments.reproduce ${run.id}`)),
        ]),
        table("Model", [
          row("version", run.version),
          row("registry", more.model_version && dom.make("code", {}, more.model_version)),
          row("artifact", more.artifact && dom.make("code", {}, more.artifact)),
          row("SHA-256", more.artifact_sha256 && dom.make("code", {}, more.artifact_sha256.slice(0, 16))),
          row("endpoint", run.serving ?? (run.version ? "does not serve now" : "")),
        ]),
        table("Run", [
          row("by", run.user),
          row("on", run.host),
          row("target", run.target),
          row("job", run.job && dom.make("code", {}, run.job)),
          row("created", dom.time(run.created)),
          row("started", dom.time(run.started)),
          row("ended", dom.time(run.ended)),
        ]),
        artifacts(run),
        table("Machine", rows(more.machine ?? {})),
        table("Libraries", rows(more.environment ?? {})),
      );
      const why = more.trace || run.error;
      dom.fill(
        failure,
        run.status !== "died" &&
          why &&
          dom.make(
            "section",
            { class: "failure", "aria-label": "Why it failed" },
            dom.make("h2", {}, run.error || "Why it failed"),
            more.trace && dom.make("pre", { tabindex: 0 }, more.trace),
          ),
        run.status === "died" &&
          dom.make(
            "section",
            { class: "failure" },
            dom.make("h2", {}, "It died"),
            dom.make(
              "p",
              {},
              `The process gave no sign of life after ${format.time(run.heartbeat ?? run.created)}: it was killed, or its machine went away.`,
            ),
          ),
      );
    }

    // What the run has left to be saved: the files of its model, and what was attached to it.
    /** @type {(run: Run) => Child} */
    function artifacts(run) {
      const found = [
        ...(details?.artifact_files ?? []).map((file) => ({ ...file, path: `artifact/${file.name}` })),
        ...(details?.attachments ?? []).map((file) => ({ ...file, path: `attachments/${file.name}` })),
      ];
      if (!found.length) return null;
      return dom.section(
        "Artifacts",
        dom.pairs(
          found.map((file) => {
            const href = source.download(run, file.path);
            const name = file.name.split("/").at(-1) ?? file.name;
            return [
              file.name,
              href ? dom.make("a", { href, download: name }, `save ${format.size(file.size)}`) : format.size(file.size),
            ];
          }),
        ),
      );
    }

    async function load() {
      const run = runs.get(key);
      if (!run || ended) return;
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      try {
        details = await source.details(run, output.length);
        if (ended) return;
        chart.set([{ run: key, label: run.id, colour: 0, series: details.series }]);
        curveControls.hidden = chart.size === 0;
        dom.setText(
          curveEmpty,
          chart.size ? "" : 'No curves were recorded: `_run.log_scalar("loss", loss, step)` in train.py records one.',
        );
        // A run without curves leaves its place to the plots.
        metricsSection.hidden = chart.size === 0 && details.plots.length > 0;
        saved.set(details);
        plotsSection.hidden = saved.element.childElementCount === 0;
        system.set([{ run: key, label: run.id, colour: 0, series: details.system }]);
        systemSection.hidden = system.size === 0;
        dom.fill(notes, details.notes && dom.section("Notes", dom.make("div", { class: "notes" }, details.notes)));
        refreshHead();
        output.add(details.output, run.status === "running");
        files.set(details.files);
        refreshFacts();
      } catch (error) {
        if (!ended && details === null) dom.setText(curveEmpty, `The record cannot be read: ${dom.message(error)}`);
      } finally {
        asking = false;
        if (again && !ended) {
          again = false;
          load();
        }
      }
    }

    /** @type {(step: number) => void} */
    function neighbour(step) {
      const order = query.newestFirst(pageRuns.matching().list);
      const place = order.findIndex((run) => runs.key(run) === key);
      const next = order[place + step];
      if (place >= 0 && next) location.replace(grid.address(next));
    }

    keys.set([
      { key: "Escape", does: "go back to the table", run: () => (location.hash = "#/") },
      { key: "n", does: "go to the next older run", run: () => neighbour(1) },
      { key: "p", does: "go to the next newer run", run: () => neighbour(-1) },
      { key: "f", does: "follow the output, or stop it", run: () => output.toggle() },
    ]);

    const refresh = () => {
      refreshHead();
      refreshFacts();
    };
    refresh();
    load();
    const forgetRuns = runs.onChange((changed) => {
      if (!changed.has(key)) return;
      refresh();
      load();
    });
    const forgetState = source.onChange(() => {
      const run = runs.get(key);
      if (!run || run.status === "running") refreshHead();
    });
    return () => {
      ended = true;
      forgetRuns();
      forgetState();
      chart.end();
      system.end();
      saved.end();
    };
  }

  // The source files, fetched when they are opened.
  /**
   * @param {string} key
   */
  function filesView(key) {
    const element = dom.make("div", { class: "files" });
    /** @type {string | null} */
    let shown = null;

    /** @type {(item: HTMLDetailsElement, name: string) => Promise<void>} */
    async function open(item, name) {
      if (!item.open || item.dataset.loaded) return;
      const run = runs.get(key);
      const body = item.querySelector("pre");
      if (!run || !body) return;
      item.dataset.loaded = "yes";
      try {
        const { text } = await source.file(run, name);
        body.replaceChildren(
          ...text
            .replace(/\n$/, "")
            .split("\n")
            .map((line) => dom.make("span", { class: "code-line" }, `${line}\n`)),
        );
      } catch (error) {
        body.textContent = `The file cannot be read: ${dom.message(error)}`;
        delete item.dataset.loaded;
      }
    }

    return {
      element,
      /** @type {(found: SourceFile[]) => void} */
      set(found) {
        const signature = JSON.stringify(found);
        if (signature === shown) return;
        shown = signature;
        const items = found.map(({ name, size }) => {
          const item = dom.make(
            "details",
            {},
            dom.make(
              "summary",
              {},
              dom.make("code", {}, name),
              " ",
              dom.make("span", { class: "dim" }, format.size(size)),
            ),
            dom.make("pre", { class: "code", tabindex: 0 }),
          );
          item.addEventListener("toggle", () => open(item, name));
          return item;
        });
        dom.fill(element, items.length ? items : dom.make("p", { class: "dim" }, "No files were recorded."));
      },
    };
  }

  return { show };
})();
