"use strict";

// Which page is shown, and the line at the top that tells whether it is true.
const app = (() => {
  const main = dom.byId("main");
  const place = dom.byId("place");
  const pulse = dom.byId("pulse");
  const banner = dom.byId("banner");
  const themeButton = dom.byId("theme");
  const tabs = dom.byId("tabs");
  /** @type {Forget | null} */
  let leave = null;
  /** @type {string | null} */
  let shown = null;

  // Which tab each page belongs to.
  /** @type {Record<string, string>} */
  const TABS = {
    ...{ models: "models", model: "models", endpoints: "endpoints", jobs: "jobs", job: "jobs" },
    ...{ pipelines: "pipelines", pipeline: "pipelines", monitoring: "monitoring", monitor: "monitoring", data: "data" },
  };

  function route() {
    const [path, search = ""] = location.hash.replace(/^#?\/?/, "").split("?", 2);
    const parts = path.split("/").map(decode);
    const parameters = new URLSearchParams(search);
    const moved = shown !== null;
    leave?.();
    scrollTo(0, 0);
    keys.set([]);
    const [name, one = ""] = parts;
    if (name === "run" && parts.length === 3) leave = pageRun.show(main, `${parts[1]}/${parts[2]}`);
    else if (name === "compare") leave = pageCompare.show(main, parameters);
    else if (name === "groups") leave = pageGroups.show(main, parameters);
    else if (name === "view" && one) leave = views.follow(main, one);
    else if (name === "models") leave = pageModels.show(main);
    else if (name === "model") leave = pageModels.showOne(main, one);
    else if (name === "endpoints") leave = pageEndpoints.show(main);
    else if (name === "jobs") leave = pageJobs.show(main);
    else if (name === "job") leave = pageJobs.showOne(main, one);
    else if (name === "pipelines") leave = pagePipelines.show(main);
    else if (name === "pipeline") leave = pagePipelines.showOne(main, one);
    else if (name === "monitoring") leave = pageMonitoring.show(main);
    else if (name === "monitor") leave = pageMonitoring.showOne(main, one);
    else if (name === "data") leave = one ? pageData.showOne(main, one) : pageData.show(main);
    else leave = pageRuns.show(main, parameters);
    const tab = TABS[name] ?? "runs";
    for (const link of tabs.querySelectorAll("a")) {
      if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (link.dataset.tab === tab) link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    if (moved && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
    shown = location.hash;
  }

  /** @type {(part: string) => string} */
  function decode(part) {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  }

  /** @type {(state: State) => void} */
  function showState(state) {
    dom.setText(place, state.place?.bucket ?? "");
    const silent = state.silentSince !== null;
    const kind = silent ? "gone" : state.problem ? "troubled" : "well";
    pulse.className = `pulse ${kind}`;
    const amount = format.count(runs.size, "run");
    let text = state.loaded ? amount : "";
    if (!state.live) text += state.checked ? ` \u00b7 exported ${format.time(state.checked)}` : "";
    else if (silent) text = "no answer";
    else if (state.loaded) text += state.problem ? "" : " \u00b7 live";
    dom.setText(pulse, text);
    pulse.title = state.live && state.checked ? `The bucket was read ${format.ago(state.checked, runs.now())}` : "";

    const trouble = state.problem ?? state.place?.warning;
    banner.hidden = !silent && !trouble;
    if (silent && state.live) {
      const lines = [
        dom.make("strong", {}, "The dashboard\u2019s server does not answer. "),
        `What you see is as of ${state.checked ? format.time(state.checked) : "no time yet"}; the page continues by itself when the server is back: `,
        dom.make("code", {}, "invoke dashboard"),
      ];
      if (banner.dataset.kind !== "silent") dom.fill(banner, lines);
      banner.dataset.kind = "silent";
    } else if (silent) {
      dom.fill(
        banner,
        dom.make("strong", {}, "The file runs.js is missing next to this page. "),
        "Export again: ",
        dom.make("code", {}, "invoke dashboard --export DIR"),
      );
    } else if (trouble) {
      const text = [trouble.problem, trouble.hint].join("\n");
      if (banner.dataset.kind !== text)
        dom.fill(banner, dom.make("strong", {}, trouble.problem), trouble.hint ? ` \u2014 ${trouble.hint}` : "");
      banner.dataset.kind = text;
    } else delete banner.dataset.kind;
  }

  function showTheme() {
    /** @type {Record<string, string>} */
    const signs = { system: "\u25d0", light: "\u2600", dark: "\u263e" };
    dom.setText(themeButton, signs[theme.choice]);
    themeButton.setAttribute("aria-label", `Colours: ${theme.choice}`);
    themeButton.title = `Colours: ${theme.choice} (t)`;
  }

  themeButton.addEventListener("click", theme.next);
  dom.byId("help").addEventListener("click", keys.help);
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  theme.onChange(showTheme);
  showTheme();
  window.addEventListener("hashchange", route);
  source.onChange(showState);
  route();
  source.start();

  return {};
})();
