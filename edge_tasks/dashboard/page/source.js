"use strict";

// Where the runs come from: the dashboard's server, asked again and again; or files, in an exported page.
const source = (() => {
  // Milliseconds: between two questions, when nobody answers, until the first runs are there; how long to wait for one.
  const INTERVAL = 2000;
  const SLOW = 5000;
  const FIRST = 300;
  const LIMIT = 60000;

  /** @type {State} */
  const state = { live: true, place: null, problem: null, silentSince: null, checked: null, loaded: false };
  /** @type {Set<(state: State) => void>} */
  const listeners = new Set();

  function changed() {
    for (const listener of [...listeners]) listener(state);
  }

  /** @type {(path: string) => Promise<any>} */
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
    } catch {
      state.silentSince ??= Date.now();
      pause = SLOW;
      changed();
    }
    // A page that nobody sees asks nothing; it begins again when it is looked at.
    if (document.hidden)
      await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
    else await new Promise((later) => setTimeout(later, pause));
    poll();
  }

  /** @type {(update: Update) => void} */
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
    /** @type {(run: Run, outputFrom: number) => Promise<Details>} */
    details: (run, outputFrom) =>
      ask(`api/runs/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}?output_from=${outputFrom}`),
    /** @type {(run: Run, name: string) => Promise<{ text: string }>} */
    file: async (run, name) =>
      ask(`api/runs/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}/files/${encodeURIComponent(name)}`),
  };

  // -- from files: scripts, because a page that was opened as a file may load nothing else --

  /** @type {Map<string, (value: any) => void>} */
  const waiting = new Map();
  /** @type {Map<string, Promise<ExportedDetails>>} */
  const details = new Map();

  // Called by the scripts of an export.
  /** @type {(path: string, text: string) => void} */
  function receive(path, text) {
    const value = JSON.parse(text);
    if (path === "runs") take(value);
    else waiting.get(path)?.(value);
  }

  /** @type {(path: string) => Promise<any>} */
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
    /** @type {(run: Run) => Promise<ExportedDetails>} */
    details(run) {
      const path = `runs/${runs.key(run)}`;
      const loaded = details.get(path) ?? load(path);
      details.set(path, loaded);
      return loaded;
    },
    /** @type {(run: Run, name: string) => Promise<{ text: string }>} */
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
    /** @type {(run: Run, outputFrom?: number) => Promise<Details>} */
    details: (run, outputFrom = 0) => chosen.details(run, outputFrom),
    /** @type {(run: Run, name: string) => Promise<{ text: string }>} */
    file: (run, name) => chosen.file(run, name),
    /** @type {(listener: (state: State) => void) => Forget} */
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
})();
