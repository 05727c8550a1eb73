"use strict";

// The endpoints: what serves with which part of the requests, since when and why; a canary next to the stable version.
const pageEndpoints = (() => {
  /**
   * @typedef {{ endpoints: Endpoint[], lock: { who: string, stale: boolean } | null, changes: Change[] }} Served
   */

  const SLOW = 10000;

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    main.className = "endpoints";
    document.title = "Endpoints";
    const nothing = dom.make("div", {});
    const body = dom.make("div", { class: "stack" });
    const state = dom.make("div", {});
    /** @type {Map<string, Traffic>} */
    const traffic = new Map();
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
      body.replaceChildren(...found.endpoints.map(cardOf));
      dom.fill(state, stateSection(found));
    }

    // A card that says the same stays as it is, with what is selected in it.
    /** @type {(endpoint: Endpoint) => HTMLElement} */
    function cardOf(endpoint) {
      const signature = JSON.stringify([endpoint, traffic.get(endpoint.model), runs.size]);
      const before = cards.get(endpoint.model);
      if (before?.signature === signature) return before.element;
      const element = card(endpoint);
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
      const counted = asked?.versions[one.id];
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
            fact("machine", `${one.machine}${one.replicas ? `, ${[...new Set(one.replicas)].join(" to ")}` : ""}`),
          fact(
            "last hour",
            !endpoint.log.enabled
              ? dom.make("span", { class: "dim" }, "not kept")
              : counted
                ? format.count(counted.requests, "request")
                : asked
                  ? "no request"
                  : "\u2026",
          ),
        ),
        counted &&
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

    async function countRequests() {
      const wanted = served()?.endpoints.filter((one) => one.log.enabled) ?? [];
      for (const { model } of wanted) {
        try {
          traffic.set(model, await source.get(`models/${encodeURIComponent(model)}/traffic`));
        } catch {
          // the card says nothing then
        }
        if (ended) return;
      }
      if (wanted.length) refresh();
      if (source.state.live) setTimeout(() => !ended && countRequests(), wanted.length ? SLOW : 1000);
    }

    refresh();
    let begun = false;
    const ends = [
      loop.watch("endpoints", () => {
        refresh();
        if (!begun) countRequests();
        begun = true;
      }),
      runs.onChange(refresh),
    ];
    keys.set([]);
    return () => {
      ended = true;
      ends.forEach((end) => end());
    };
  }

  return { show };
})();
