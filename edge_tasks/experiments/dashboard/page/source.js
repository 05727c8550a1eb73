"use strict";

// Where the runs come from: the dashboard's server, asked again and again; or files, in an exported page.
const source = (() => {
  // Milliseconds: between two questions, when nobody answers, until the first runs are there; how long to wait for one.
  const INTERVAL = 2000;
  const SLOW = 5000;
  const FIRST = 300;
  const LIMIT = 60000;

  const state = { live: true, place: null, problem: null, silentSince: null, checked: null, loaded: false };
  const listeners = new Set();

  function changed() {
    for (const listener of [...listeners]) listener(state);
  }

  async function ask(path) {
    const answer = await fetch(path, { signal: AbortSignal.timeout(LIMIT), cache: "no-store" });
    if (answer.status === 404) throw new Error("not found");
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 500));
    return answer.json();
  }

  // -- from the server --

  let revision = "";

  async function poll() {
    let pause = INTERVAL;
    try {
      const update = await ask(`api/runs?since=${encodeURIComponent(revision)}`);
      revision = update.revision;
      take(update);
      if (!state.loaded) pause = FIRST;
    } catch (error) {
      state.silentSince ??= Date.now();
      state.reason = String(error.message ?? error);
      pause = SLOW;
      changed();
    }
    // A page that nobody sees asks nothing; it begins again when it is looked at.
    if (document.hidden)
      await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
    else await new Promise((later) => setTimeout(later, pause));
    poll();
  }

  function take(update) {
    Object.assign(state, {
      place: update.place,
      problem: update.problem,
      checked: update.checked,
      silentSince: null,
      loaded: state.loaded || update.checked !== null,
    });
    runs.receive(update);
    changed();
  }

  const server = {
    start: () => void poll(),
    details: (run, outputFrom) =>
      ask(`api/runs/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}?output_from=${outputFrom}`),
    file: async (run, name) =>
      ask(`api/runs/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}/files/${encodeURIComponent(name)}`),
  };

  // -- from files: scripts, because a page that was opened as a file may load nothing else --

  const waiting = new Map();
  const details = new Map();

  // Called by the scripts of an export.
  function receive(path, text) {
    const value = JSON.parse(text);
    if (path === "runs") take(value);
    else waiting.get(path)?.(value);
  }

  function load(path) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting.set(path, resolve);
      script.src = `${path.split("/").map(encodeURIComponent).join("/")}.js`;
      script.onerror = () => reject(new Error("not found"));
      script.onload = () => script.remove();
      document.head.append(script);
    });
  }

  const files = {
    start() {
      state.live = false;
      load("runs").catch(() => {
        state.silentSince = Date.now();
        changed();
      });
    },
    details(run) {
      const path = `runs/${runs.key(run)}`;
      if (!details.has(path)) details.set(path, load(path));
      return details.get(path);
    },
    async file(run, name) {
      const record = await this.details(run);
      return { text: runs.own(record.file_texts, name) ?? "" };
    },
  };

  const chosen = document.documentElement.dataset.source === "files" ? files : server;

  return {
    state,
    receive,
    start: () => chosen.start(),
    details: (run, outputFrom = 0) => chosen.details(run, outputFrom),
    file: (run, name) => chosen.file(run, name),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
})();
