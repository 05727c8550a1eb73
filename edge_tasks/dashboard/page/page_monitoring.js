"use strict";

// What endpoints are asked, compared with what their models were trained on.
const pageMonitoring = (() => {
  const SLOW = 60000;
  const MOST_BARS = 14;

  /** @type {() => Monitored[]} */
  const known = () =>
    /** @type {Section<{ models: Monitored[] }> | undefined} */ (loop.get("monitoring"))?.content?.models ?? [];
  /** @type {(name: string) => string} */
  const address = (name) => `#/monitor/${encodeURIComponent(name)}`;

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    main.className = "monitoring";
    document.title = "Monitoring";
    const nothing = dom.make("div", {});
    const body = dom.make("div", { class: "cards" });
    dom.fill(main, dom.make("h1", {}, "Monitoring"), nothing, body);

    function refresh() {
      const found = known();
      dom.fill(
        nothing,
        loop.missing("monitoring", "monitoring") ?? [
          loop.stale("monitoring"),
          !found.length &&
            dom.empty(
              "Nothing is watched yet",
              dom.make("p", {}, "An endpoint can keep what it is asked, and compare it with the training:"),
              dom.command("invoke model.monitor --on"),
            ),
        ],
      );
      dom.fill(
        body,
        found.map((one) =>
          dom.make(
            "article",
            { class: "panel" },
            dom.make("h2", {}, dom.make("a", { href: address(one.model) }, one.model)),
            dom.make(
              "p",
              {},
              one.notes.length
                ? one.notes.map((note) =>
                    dom.make(
                      "span",
                      { class: "verdict changed" },
                      `Version ${note.version}: ${note.columns.length ? `${note.columns.join(", ")} changed` : "recovered"}`,
                    ),
                  )
                : dom.make(
                    "span",
                    { class: "dim" },
                    one.enabled ? "ci.monitor has noted no drift." : "What it is asked is not kept.",
                  ),
            ),
            one.enabled
              ? dom.make(
                  "p",
                  { class: "dim" },
                  `Keeps ${one.rate < 1 ? `${100 * one.rate} % of ` : ""}what it is asked; looks back ${one.window}; on drift: ${one.on_drift}.`,
                )
              : dom.command(`invoke model.monitor --name ${one.model} --on`),
          ),
        ),
      );
    }
    refresh();
    keys.set([]);
    return loop.watch("monitoring", refresh);
  }

  /** @type {(distribution: Distribution) => number} */
  const total = (distribution) =>
    (distribution.counts ?? []).reduce((sum, count) => sum + count, 0) +
      Object.values(distribution.categories ?? {}).reduce((sum, count) => sum + count, 0) +
      (distribution.missing ?? 0) || 1;

  // Borders of bins are read off, not computed with.
  /** @type {(before: Distribution, edge: number) => string} */
  const border = (before, edge) => (before.kind === "date" ? day(edge, before.edges ?? []) : number(edge));
  /** @type {(edge: number) => string} */
  const number = (edge) => format.number(Number(edge.toPrecision(3)));

  // There is room for a year, or for a day where all are of one year.
  /** @type {(seconds: number, edges: number[]) => string} */
  function day(seconds, edges) {
    const [first, last] = [edges[0], edges[edges.length - 1]].map((edge) => new Date(edge * 1000).toISOString());
    const text = new Date(seconds * 1000).toISOString();
    return first.slice(0, 4) === last.slice(0, 4) ? text.slice(5, 10) : text.slice(0, 4);
  }

  /** @type {(before: Distribution, edges: number[], place: number) => string} */
  function binName(before, edges, place) {
    if (edges.length === 0) return "any";
    if (place === 0) return `< ${border(before, edges[0])}`;
    const from = border(before, edges[place - 1]);
    return place === edges.length ? `\u2265 ${from}` : from;
  }

  /** @type {(before: Distribution, now: Distribution) => { label: string, before: number, now: number }[]} */
  function bars(before, now) {
    const [all, most] = [total(before), total(now)];
    if (before.counts?.length || now.counts?.length) {
      const edges = before.edges ?? now.edges ?? [];
      const counts = before.counts ?? [];
      return counts
        .map((count, place) => ({
          label: binName(before, edges, place),
          before: count / all,
          now: (now.counts?.[place] ?? 0) / most,
        }))
        .filter((one) => one.before || one.now);
    }
    const names = [...new Set([...Object.keys(before.categories ?? {}), ...Object.keys(now.categories ?? {})])];
    const found = names
      .map((label) => ({
        label,
        before: (runs.own(before.categories ?? {}, label) ?? 0) / all,
        now: (runs.own(now.categories ?? {}, label) ?? 0) / most,
      }))
      .sort((one, other) => other.before + other.now - one.before - one.now);
    const rest = found.slice(MOST_BARS);
    if (rest.length)
      found.splice(MOST_BARS, rest.length, {
        label: "the rest",
        before: rest.reduce((sum, one) => sum + one.before, 0),
        now: rest.reduce((sum, one) => sum + one.now, 0),
      });
    return found;
  }

  /** @type {(main: HTMLElement, name: string) => Forget} */
  function showOne(main, name) {
    main.className = "monitor";
    document.title = `${name}: monitoring`;
    const body = dom.make("div", {}, dom.empty("Comparing what it is asked\u2026"));
    dom.fill(
      main,
      dom.make(
        "header",
        { class: "run-head" },
        dom.make("a", { class: "back", href: "#/monitoring" }, "\u2190 all models"),
        dom.make("h1", {}, name),
        dom.make(
          "div",
          { class: "line" },
          dom.make("a", { href: pageModels.address(name) }, "versions"),
          dom.make("a", { href: "#/endpoints" }, "endpoint"),
        ),
      ),
      body,
    );
    let ended = false;

    async function refresh() {
      try {
        /** @type {Watched} */
        const found = await source.get(`models/${encodeURIComponent(name)}/watched`);
        if (ended) return;
        if (found.problem) throw new Error(found.problem);
        dom.fill(body, report(found));
      } catch (error) {
        if (ended) return;
        const [problem, ...hints] = dom.message(error).split("\n").filter(Boolean);
        dom.fill(
          body,
          dom.empty(
            "It cannot be compared",
            dom.make("p", {}, dom.sentence(problem)),
            hints.map((hint) => dom.make("p", {}, dom.sentence(hint.replace(/^hint: /, "")))),
          ),
        );
      }
      if (source.state.live) setTimeout(() => !ended && refresh(), SLOW);
    }

    /** @type {(found: Watched) => Child[]} */
    function report(found) {
      const few = found.requests < found.fewest;
      return [
        dom.make(
          "p",
          { class: `verdict ${found.changed.length && !few ? "changed" : ""}` },
          dom.sentence(found.verdict),
        ),
        dom.make(
          "p",
          { class: "dim" },
          `${format.count(found.requests, "instance")}`,
          found.since ? [", ", dom.time(found.since), " to ", dom.time(found.until)] : "",
          ". ",
          dom.make("span", { class: "key before" }),
          ` ${found.against} `,
          dom.make("span", { class: "key now" }),
          " now: shares of the values.",
        ),
        dom.make(
          "div",
          { class: "curves" },
          found.columns.map((one) =>
            dom.make(
              "figure",
              { class: `card ${one.verdict === "changed" ? "changed" : ""}` },
              dom.make(
                "figcaption",
                {},
                dom.make("span", { class: "name", title: one.column }, one.column),
                dom.make(
                  "span",
                  { class: "readout" },
                  dom.make("b", {}, one.distance.toFixed(3)),
                  ` of ${one.threshold.toFixed(3)}: ${one.verdict}`,
                ),
              ),
              marks.histogram(
                bars(one.before, one.now),
                `${one.column}: ${one.measure.replace("_", "-")} ${one.distance.toFixed(3)}, threshold ${one.threshold.toFixed(3)}, ${one.verdict}`,
              ),
            ),
          ),
        ),
      ];
    }

    refresh();
    keys.set([{ key: "Escape", does: "go back to all models", run: () => (location.hash = "#/monitoring") }]);
    return () => {
      ended = true;
    };
  }

  return { show, showOne };
})();
