"use strict";

// Where something comes from, drawn: data and commit, run, version, endpoint.
const lineage = (() => {
  /**
   * @typedef {{ kind: string, title: Child, more?: Child, href?: string | null, tone?: string }} Step
   */

  /** @type {(step: Step) => HTMLElement} */
  function box(step) {
    const inside = [
      dom.make("span", { class: "step-kind" }, step.kind),
      dom.make("span", { class: "step-title" }, step.title),
      step.more ? dom.make("span", { class: "step-more" }, step.more) : null,
    ];
    const look = `step ${step.tone ?? ""}`;
    return step.href
      ? dom.make("a", { class: look, href: step.href }, inside)
      : dom.make("span", { class: look }, inside);
  }

  // Each of `chains` is drawn as a row; missing steps are drawn as such, so that the rows stand below each other.
  /** @type {(label: string, chains: Step[][]) => HTMLElement} */
  function draw(label, chains) {
    return dom.make(
      "div",
      { class: "lineage", tabindex: 0, role: "group", "aria-label": label },
      chains.map((steps) =>
        dom.make(
          "ol",
          {},
          steps.map((step) => dom.make("li", {}, box(step))),
        ),
      ),
    );
  }

  // The steps up to the run: of a deployment, a version or a run.
  /** @type {(from: { model: string, run?: string | null, commit?: string | null, dirty?: boolean | null, data?: string | null, files?: Record<string, string> }) => Step[]} */
  function steps({ model, run, commit, dirty, data, files }) {
    const known = run ? runs.get(`${model}/${run}`) : undefined;
    const version = data ?? known?.data ?? null;
    const names = Object.keys(files ?? {});
    const sha = commit ?? known?.commit ?? null;
    return [
      {
        kind: "data",
        title:
          names.length === 1
            ? names[0]
            : names.length
              ? format.count(names.length, "file")
              : (version?.slice(0, 8) ?? "none"),
        more: version && names.length ? version.slice(0, 8) : null,
        href: version ? `#/data/${encodeURIComponent(version)}` : null,
        tone: version || names.length ? "" : "absent",
      },
      {
        kind: "commit",
        title: sha ? sha.slice(0, 8) : "none",
        more: (dirty ?? known?.dirty) ? "with changes" : null,
        href: sha ? `#/?filter=${encodeURIComponent(`commit=${sha.slice(0, 8)}`)}` : null,
        tone: sha ? ((dirty ?? known?.dirty) ? "warn" : "") : "absent",
      },
      {
        kind: "run",
        title: run ? (known?.name ?? run.slice(0, 15)) : "none",
        more: known?.user ? `by ${known.user}` : null,
        href: run && known ? grid.address(known) : null,
        tone: run ? "" : "absent",
      },
    ];
  }

  /** @type {(model: string, version: string | null) => Step} */
  const versionStep = (model, version) => ({
    kind: "version",
    title: version ?? "none",
    more: version ? model : null,
    href: version ? `#/model/${encodeURIComponent(model)}` : null,
    tone: version ? "" : "absent",
  });

  /** @type {(endpoint: string | null, share: string | null) => Step} */
  const endpointStep = (endpoint, share) => ({
    kind: "endpoint",
    title: endpoint ?? "none",
    more: share,
    href: endpoint ? "#/endpoints" : null,
    tone: endpoint ? "serving" : "absent",
  });

  return { draw, steps, versionStep, endpointStep };
})();
