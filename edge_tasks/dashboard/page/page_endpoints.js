"use strict";

// The endpoints: what serves with which part of the requests, since when and why; a canary next to the stable version.
const pageEndpoints = (() => {
  /**
   * @typedef {{ endpoints: Endpoint[], lock: { who: string, stale: boolean } | null, changes: Change[] }} Served
   */

  // Milliseconds between two questions about what is in view.
  const SLOW = 10000;
  const SLOWEST = 300000;

  /** @type {Answered} */
  const NOTHING = { requests: 0, errors: 0, by_status: {}, steps: [], median: null, slow: null };

  /** @type {(asked: { problem?: string } | undefined) => Child} */
  const waiting = (asked) => (asked ? dom.make("span", { class: "dim" }, "not known") : "\u2026");

  /** @type {(one: Answered) => Child} */
  function errors(one) {
    if (!one.errors) return "none";
    const title = Object.entries(one.by_status)
      .map(([status, count]) => `${status}: ${count.toLocaleString("en")}`)
      .join(", ");
    return dom.make(
      "strong",
      { class: "failing", title },
      `${one.errors.toLocaleString("en")} (${marks.percent(one.errors / one.requests)})`,
    );
  }

  /** @type {(value: number | null) => Child} */
  const latency = (value) => (value === null ? dom.make("span", { class: "dim" }, "not known") : milliseconds(value));

  /** @type {(value: number) => string} */
  const milliseconds = (value) =>
    value >= 1000 ? `${(value / 1000).toPrecision(2)} s` : `${value >= 10 ? Math.round(value) : value.toPrecision(2)} ms`;

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    main.className = "endpoints";
    document.title = "Endpoints";
    const nothing = dom.make("div", {});
    const body = dom.make("div", { class: "stack" });
    const state = dom.make("div", {});
    /** @type {Map<string, Traffic>} */
    const traffic = new Map();
    /** @type {Map<string, Drifts>} */
    const drifts = new Map();
    // What was asked when, and which models' cards are in view: of the others nothing is asked.
    /** @type {Map<string, number>} */
    const askedAt = new Map();
    /** @type {Set<string>} */
    const inView = new Set();
    const sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const model = target.getAttribute("data-model") ?? "";
        if (isIntersecting) inView.add(model);
        else inView.delete(model);
      }
    });
    /** @type {Map<string, { signature: string, element: HTMLElement }>} */
    const cards = new Map();
    let ended = false;
    dom.fill(main, dom.make("h1", {}, "Endpoints"), nothing, body, state);

    const served = () => /** @type {Section<Served> | undefined} */ (loop.get("endpoints"))?.content;

    function refresh() {
      const found = served();
      dom.fill(
        nothing,
        loop.missing("endpoints", "endpoints") ?? [
          loop.stale("endpoints"),
          !found?.endpoints.length &&
            dom.empty(
              "Nothing serves yet",
              dom.make("p", {}, "Deploy a trained model:"),
              dom.command("invoke model.deploy"),
            ),
        ],
      );
      if (!found) return;
      const wanted = found.endpoints.map(cardOf);
      // What stands already in its place is not moved: it keeps its focus, its selection and where it is scrolled to.
      if (wanted.length !== body.children.length || wanted.some((card, place) => body.children[place] !== card))
        body.replaceChildren(...wanted);
      dom.fill(state, stateSection(found));
    }

    // A card that says the same stays as it is, with what is selected in it.
    /** @type {(endpoint: Endpoint) => HTMLElement} */
    function cardOf(endpoint) {
      const model = endpoint.model;
      const signature = JSON.stringify([endpoint, traffic.get(model), drifts.get(model), runs.size]);
      const before = cards.get(endpoint.model);
      if (before?.signature === signature) return before.element;
      const element = card(endpoint);
      if (before) sight.unobserve(before.element);
      sight.observe(element);
      cards.set(endpoint.model, { signature, element });
      return element;
    }

    /** @type {(endpoint: Endpoint) => HTMLElement} */
    function card(endpoint) {
      const model = endpoint.model;
      return dom.make(
        "article",
        { class: "panel endpoint", "data-model": model },
        dom.make(
          "header",
          {},
          dom.make("h2", {}, endpoint.display_name),
          dom.make("span", { class: "dim" }, "of ", dom.make("a", { href: pageModels.address(model) }, model)),
          dom.make("span", { class: "space" }),
          dom.make("a", { class: "button", href: `${pageModels.address(model)}?try` }, "Try it"),
        ),
        endpoint.coming && dom.make("p", { class: "note" }, `Version ${endpoint.coming} is being deployed.`),
        endpoint.versions.length
          ? [
              marks.shares(
                endpoint.versions.map((one) => ({
                  label: `version ${one.version}`,
                  share: one.traffic ?? 0,
                  look: one.role,
                })),
              ),
              dom.make(
                "div",
                { class: "versions" },
                endpoint.versions.map((one) => version(endpoint, one)),
              ),
              lineage.draw(
                `Where what ${endpoint.display_name} answers comes from`,
                endpoint.versions.map((one) => [
                  ...lineage.steps({ ...one, model, data: null, files: one.data }),
                  lineage.versionStep(model, one.version),
                  lineage.endpointStep(endpoint.display_name, `${one.traffic ?? 0} % of the requests`),
                ]),
              ),
            ]
          : dom.make("p", { class: "dim" }, "No version is deployed here."),
        dom.make(
          "div",
          { class: "address" },
          dom.make("code", {}, endpoint.url),
          dom.copyButton(endpoint.url, "the address"),
        ),
      );
    }

    /** @type {(endpoint: Endpoint, one: Deployment) => HTMLElement} */
    function version(endpoint, one) {
      const asked = traffic.get(endpoint.model);
      const counted = asked?.versions ? (runs.own(asked.versions, one.id) ?? NOTHING) : null;
      const most = Math.max(1, ...Object.values(asked?.versions ?? {}).flatMap((version) => version.steps));
      const [metric] = Object.entries(one.metrics ?? {});
      /** @type {(name: string, value: Child) => Child} */
      const fact = (name, value) => dom.make("div", {}, dom.make("dt", {}, name), dom.make("dd", {}, value));
      return dom.make(
        "section",
        { class: `version ${one.role}`, "aria-label": `version ${one.version}` },
        dom.make(
          "h3",
          {},
          dom.make("span", { class: `role ${one.role}` }, `version ${one.version}`),
          dom.make("span", { class: "dim" }, one.role === "other" ? "not known to the shared state" : one.role),
          dom.make("span", { class: "space" }),
          dom.make("strong", {}, `${one.traffic ?? 0} %`),
        ),
        dom.make(
          "dl",
          { class: "facts-line" },
          one.at && fact("since", dom.time(one.at)),
          one.by && fact("by", one.by),
          metric && fact(metric[0], format.short(metric[1])),
          one.machine &&
            fact("machine", `${one.replicas ? `${[...new Set(one.replicas)].join(" to ")} \u00d7 ` : ""}${one.machine}`),
        ),
        dom.make(
          "dl",
          { class: "facts-line measured" },
          fact("requests, 1 h", counted ? counted.requests.toLocaleString("en") : waiting(asked)),
          fact("errors", counted ? errors(counted) : waiting(asked)),
          fact("median", counted ? latency(counted.median) : waiting(asked)),
          fact("95 % in", counted ? latency(counted.slow) : waiting(asked)),
          fact("drift", drift(endpoint, one)),
        ),
        asked?.problem && dom.make("p", { class: "dim" }, dom.sentence(asked.problem)),
        counted &&
          counted.requests > 0 &&
          dom.make(
            "div",
            { class: "minutes" },
            marks.steps(
              counted.steps,
              most,
              `requests in each minute of the last hour, at most ${Math.max(...counted.steps)}`,
              one.role,
            ),
          ),
      );
    }

    /** @type {(endpoint: Endpoint, one: Deployment) => Child} */
    function drift(endpoint, one) {
      if (!endpoint.log.enabled) return dom.make("span", { class: "dim" }, "requests are not kept");
      const asked = drifts.get(endpoint.model);
      const found = asked?.versions && runs.own(asked.versions, one.id);
      if (!found) return asked && one.role === "other" ? "" : waiting(asked);
      if (found.problem) return dom.make("span", { class: "dim", title: found.problem }, "cannot be compared");
      const { farthest, changed, columns } = found;
      const title = !farthest
        ? found.verdict
        : `${found.verdict}; of ${format.count(columns, "column")} ${farthest.column} has gone farthest: ` +
          `${farthest.distance.toFixed(3)} of ${farthest.threshold.toFixed(3)}`;
      const words = !found.enough
        ? "too few yet"
        : changed.length
          ? `${changed.slice(0, 3).join(", ")}${changed.length > 3 ? ` and ${changed.length - 3} more` : ""} changed`
          : "none";
      const look = found.enough && changed.length ? "changed" : "";
      return one.role === "stable"
        ? dom.make("a", { href: `#/monitor/${encodeURIComponent(endpoint.model)}`, class: look, title }, words)
        : dom.make("span", { class: look, title }, words);
    }

    /** @type {(found: Served) => Child} */
    function stateSection(found) {
      return dom.section(
        "The shared state",
        dom.make(
          "p",
          { class: found.lock?.stale ? "note warn" : "note" },
          found.lock
            ? [
                dom.make("strong", {}, "Locked"),
                ` by ${found.lock.who}. `,
                found.lock.stale && dom.make("code", {}, "invoke state.unlock"),
              ]
            : "Nobody holds its lock.",
        ),
        found.changes.length > 0 &&
          dom.make(
            "div",
            { class: "wide", tabindex: 0, role: "region", "aria-label": "The last changes" },
            dom.table(
              ["when", "who", "command", "what"],
              found.changes.map((change) => [
                dom.make("td", { class: "nowrap" }, dom.time(change.at)),
                change.by,
                dom.make("code", {}, change.command),
                change.what.map((line) => dom.make("div", {}, line)),
              ]),
            ),
          ),
      );
    }

    // Asks of the cards in view, one after the other: traffic often, drift seldom, since that reads what was asked.
    async function measure() {
      for (const endpoint of served()?.endpoints ?? []) {
        if (!inView.has(endpoint.model)) continue;
        await ask(endpoint.model, "traffic", traffic, SLOW);
        if (endpoint.log.enabled) await ask(endpoint.model, "drifts", drifts, SLOWEST);
        if (ended) return;
      }
      timer = setTimeout(measure, 500);
    }

    /** @type {(model: string, what: string, known: Map<string, any>, pause: number) => Promise<void>} */
    async function ask(model, what, known, pause) {
      const key = `${what} ${model}`;
      const before = askedAt.get(key);
      if (ended || document.hidden) return;
      if (before !== undefined && (!source.state.live || Date.now() - before < pause)) return;
      askedAt.set(key, Date.now());
      try {
        known.set(model, await source.get(`models/${encodeURIComponent(model)}/${what}`));
      } catch (error) {
        known.set(model, { problem: dom.message(error).split("\n")[0] });
      }
      // The other cards stay as they are.
      const endpoint = served()?.endpoints.find((one) => one.model === model);
      const card = cards.get(model)?.element;
      if (!ended && endpoint && card?.isConnected) card.replaceWith(cardOf(endpoint));
    }

    refresh();
    let timer = setTimeout(measure, 0);
    const ends = [loop.watch("endpoints", refresh), runs.onChange(refresh)];
    keys.set([]);
    return () => {
      ended = true;
      clearTimeout(timer);
      sight.disconnect();
      ends.forEach((end) => end());
    };
  }

  return { show };
})();
