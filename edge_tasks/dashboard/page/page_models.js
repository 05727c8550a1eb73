"use strict";

// The models, and one of them: its versions side by side, what served when, and a request to try.
const pageModels = (() => {
  /** @type {() => Model[]} */
  const known = () =>
    /** @type {Section<{ models: Model[] }> | undefined} */ (loop.get("models"))?.content?.models ?? [];

  /** @type {(name: string) => string} */
  const address = (name) => `#/model/${encodeURIComponent(name)}`;

  // -- all of them --

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    main.className = "models";
    document.title = "Models";
    const body = dom.make("div", { class: "cards" });
    const nothing = dom.make("div", {});
    dom.fill(main, dom.make("h1", {}, "Models"), nothing, body);

    function refresh() {
      const found = known();
      dom.fill(
        nothing,
        loop.missing("models", "models") ?? [
          loop.stale("models"),
          !found.length && dom.empty("No models yet", dom.command("invoke model.init my-model")),
        ],
      );
      dom.fill(body, found.map(card));
    }

    /** @type {(model: Model) => HTMLElement} */
    function card(model) {
      const mine = runs.list().filter((run) => run.model === model.name);
      const last = query.newestFirst(mine)[0];
      return dom.make(
        "article",
        { class: "panel" },
        dom.make("h2", {}, dom.make("a", { href: address(model.name) }, model.name)),
        dom.make(
          "dl",
          { class: "facts-line" },
          fact(
            "serves",
            model.serving.length
              ? model.serving.map((one) => serving(one))
              : dom.make("span", { class: "dim" }, "nothing"),
          ),
          model.coming && fact("being deployed", `version ${model.coming}`),
          fact("versions", model.versions.length.toLocaleString("en")),
          fact(
            "runs",
            dom.make("a", { href: `#/?model=${encodeURIComponent(model.name)}` }, mine.length.toLocaleString("en")),
          ),
          last &&
            fact("last run", [
              dom.make("a", { href: grid.address(last) }, format.time(last.created)),
              " ",
              dom.status(last.status),
            ]),
          measured(model),
        ),
      );
    }

    refresh();
    const ends = [loop.watch("models", refresh), runs.onChange(refresh)];
    return () => ends.forEach((end) => end());
  }

  // What serves was measured so, or else the newest version; the last run may be a try that nobody registered.
  /** @type {(model: Model) => Child} */
  function measured(model) {
    const served = model.serving.find((one) => one.role === "stable");
    const newest = model.versions[0];
    const run = newest?.run ? runs.get(`${model.name}/${newest.run}`) : undefined;
    const [first] = Object.entries(served?.metrics ?? run?.metrics ?? {});
    return first && fact(`${first[0]} of version ${(served ?? newest).version}`, format.short(first[1]));
  }

  /** @type {(one: Deployment) => HTMLElement} */
  const serving = (one) =>
    dom.make(
      "span",
      { class: `role ${one.role}` },
      `version ${one.version}`,
      one.role === "canary" ? " as canary" : "",
    );

  /** @type {(name: string, value: Child) => Child} */
  const fact = (name, value) => dom.make("div", {}, dom.make("dt", {}, name), dom.make("dd", {}, value));

  // -- one of them --

  /** @type {(main: HTMLElement, name: string) => Forget} */
  function showOne(main, name) {
    main.className = "model";
    document.title = `${name}: versions`;
    const nothing = dom.make("div", {});
    const drawn = dom.make("div", {});
    const history = dom.make("div", {});
    const trial = tryIt.create(name);
    const model = () => known().find((one) => one.name === name);

    const table = listing.create({
      kind: {
        label: "Versions",
        noun: "version",
        pinned: "version",
        width: "110px",
        selectable: true,
        all: () => model()?.versions ?? [],
        key: (version) => version.name,
        name: (version) => version.version,
        address: (version) => (version.run ? grid.address({ model: name, id: version.run }) : address(name)),
        lives: () => false,
      },
      columns,
      sort: "version",
      open: (version) => (location.hash = version.run ? grid.address({ model: name, id: version.run }) : address(name)),
      placeholder: "Find a version: words",
      selection: (versions) => {
        const found = versions.flatMap((version) => (version.run ? [`${name}/${version.run}`] : []));
        return [
          dom.make("span", {}, `${format.count(versions.length, "version")} selected`),
          found.length > 1 &&
            dom.make("a", { class: "button primary", href: runs.compareAddress(found) }, "Side by side"),
        ];
      },
    });

    /** @type {() => Column<Version>[]} */
    function columns() {
      const versions = model()?.versions ?? [];
      const found = new Map(
        versions.map((version) => [version.name, version.run ? runs.get(`${name}/${version.run}`) : undefined]),
      );
      const metrics = [...new Set([...found.values()].flatMap((run) => Object.keys(run?.metrics ?? {})))]
        .sort()
        .slice(0, 6);
      const served = new Map(model()?.serving.map((one) => [one.version, one.role]));
      /** @type {Field<Version>} */
      const field = listing.field;
      return [
        field("version", (version) => Number(version.version), { show: (version) => version.version }),
        field("serves", (version) => served.get(version.version) ?? null),
        field("registered", (version) => version.created, {
          show: (version) => format.time(version.created),
          time: true,
        }),
        field("run", (version) => version.run, { mono: true }),
        ...metrics.map((metric) => {
          const values = [...found.values()].flatMap((run) =>
            typeof run?.metrics[metric] === "number" ? [run.metrics[metric]] : [],
          );
          return /** @type {Column<Version>} */ ({
            kind: "metric",
            name: metric,
            key: `metrics.${metric}`,
            label: metric,
            numeric: true,
            value: (version) => found.get(version.name)?.metrics[metric] ?? null,
            best: runs.best(metric, values),
          });
        }),
        field("commit", (version) => version.commit, {
          show: (version) => (version.commit ?? "").slice(0, 8) + (version.dirty ? "*" : ""),
          mono: true,
        }),
        field("data", (version) => version.data, { show: (version) => (version.data ?? "").slice(0, 8), mono: true }),
        field("aliases", (version) => version.aliases.join(", ") || null),
        field("image", (version) => version.image, { show: (version) => version.image.split("/").at(-1) ?? "" }),
      ];
    }

    function refresh() {
      const found = model();
      dom.fill(
        nothing,
        loop.missing("models", "models") ?? [
          loop.stale("models"),
          !found &&
            dom.empty("There is no such model", dom.make("a", { class: "button", href: "#/models" }, "All models")),
        ],
      );
      table.element.hidden = !found?.versions.length;
      if (!found) return;
      dom.fill(
        drawn,
        found.serving.length > 0 &&
          dom.section(
            "What serves",
            lineage.draw(
              "Where what serves comes from",
              found.serving.map((one) => [
                ...lineage.steps({ ...one, model: name, data: null, files: one.data }),
                lineage.versionStep(name, one.version),
                lineage.endpointStep(found.endpoint, one.role === "canary" ? "as canary" : "stable"),
              ]),
            ),
          ),
        !found.versions.length &&
          dom.section(
            "Versions",
            dom.make(
              "p",
              { class: "dim" },
              "None is in the registry yet: ",
              dom.make("code", {}, `invoke model.deploy --name ${name}`),
            ),
          ),
      );
      dom.fill(
        history,
        found.history.length > 0 &&
          dom.section(
            "What served before",
            dom.table(
              ["since", "version", "by", "run"],
              found.history.map((one) => [
                dom.time(one.at),
                one.version,
                one.by ?? "",
                one.run
                  ? dom.make("a", { class: "mono", href: grid.address({ model: name, id: one.run }) }, one.run)
                  : "",
              ]),
            ),
          ),
      );
      // As high as its rows, until it scrolls in itself.
      table.element.style.height = `min(${34 * found.versions.length + 108}px, 560px)`;
      if (!table.element.hidden) table.refresh();
      trial.refresh(found.serving.length > 0);
    }

    dom.fill(
      main,
      dom.make(
        "header",
        { class: "run-head" },
        dom.make("a", { class: "back", href: "#/models" }, "\u2190 all models"),
        dom.make("h1", {}, name),
        dom.make(
          "div",
          { class: "line" },
          dom.make("a", { href: `#/?model=${encodeURIComponent(name)}` }, "runs"),
          dom.make("a", { href: "#/endpoints" }, "endpoint"),
          dom.make("a", { href: `#/monitor/${encodeURIComponent(name)}` }, "monitoring"),
        ),
      ),
      nothing,
      drawn,
      table.element,
      trial.element,
      history,
    );
    refresh();
    const ends = [loop.watch("models", refresh), runs.onChange(refresh)];
    keys.set([{ key: "Escape", does: "go back to all models", run: () => (location.hash = "#/models") }]);
    return () => ends.forEach((end) => end());
  }

  return { show, showOne, address };
})();
