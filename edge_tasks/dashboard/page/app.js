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
    const parts = path.replace(/\/+$/, "").split("/").map(decode);
    const parameters = new URLSearchParams(search);
    const moved = shown !== null;
    leave?.();
    scrollTo(0, 0);
    keys.set([]);
    const [name, one = ""] = parts;
    let tab = TABS[name] ?? "runs";
    const only = parts.length === 1;
    const named = parts.length === 2;
    if (only && name === "") leave = pageRuns.show(main, parameters);
    else if (name === "run" && parts.length === 3) leave = pageRun.show(main, `${parts[1]}/${parts[2]}`);
    else if (name === "compare" && only) leave = pageCompare.show(main, parameters);
    else if (name === "groups" && only) leave = pageGroups.show(main, parameters);
    else if (name === "view" && named) leave = views.follow(main, one);
    else if (name === "models" && only) leave = pageModels.show(main);
    else if (name === "model" && named) leave = pageModels.showOne(main, one);
    else if (name === "endpoints" && only) leave = pageEndpoints.show(main);
    else if (name === "jobs" && only) leave = pageJobs.show(main);
    else if (name === "job" && named) leave = pageJobs.showOne(main, one);
    else if (name === "pipelines" && only) leave = pagePipelines.show(main);
    else if (name === "pipeline" && named) leave = pagePipelines.showOne(main, one);
    else if (name === "monitoring" && only) leave = pageMonitoring.show(main);
    else if (name === "monitor" && named) leave = pageMonitoring.showOne(main, one);
    else if (name === "data" && only) leave = pageData.show(main);
    else if (name === "data" && named) leave = pageData.showOne(main, one);
    else {
      leave = showNothing();
      tab = "";
    }
    for (const link of tabs.querySelectorAll("a")) {
      if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (link.dataset.tab === tab) link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    if (moved && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
    shown = location.hash;
  }

  /** @type {() => Forget} */
  function showNothing() {
    main.className = "list";
    document.title = "No such page";
    dom.fill(
      main,
      dom.empty(
        "There is no such page",
        dom.make("p", {}, dom.make("code", {}, location.hash)),
        dom.make("a", { class: "button", href: "#/" }, "All runs"),
      ),
    );
    keys.set([{ key: "Escape", does: "go back to the table", run: () => (location.hash = "#/") }]);
    return () => undefined;
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
