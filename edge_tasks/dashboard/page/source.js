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
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 500));
    return answer.json();
  }

  // -- what only who started the dashboard may do --

  // The printed address has the key behind its #, which no server is told; it lasts as long as the tab.
  const KEY = "edge.key";
  let key = "";
  try {
    const given = /^#key=([\w-]+)$/.exec(location.hash);
    if (given) {
      key = given[1];
      history.replaceState(null, "", "#/"); // first, because the key is not the address of a page
      sessionStorage.setItem(KEY, key);
    }
    key = sessionStorage.getItem(KEY) ?? "";
    // Where it is hosted, who was let in needs no printed address.
    key = document.documentElement.dataset.key ?? key;
  } catch {
    // without storage a reload forgets it
  }

  /** @type {(method: string, path: string, body: unknown) => Promise<any>} */
  async function send(method, path, body) {
    const answer = await fetch(path, {
      method,
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "Content-Type": "application/json", "X-Edge-Key": key },
      signal: AbortSignal.timeout(LIMIT),
      cache: "no-store",
    });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 2000));
    return answer.json();
  }

  /** @type {(run: Run) => string} */
  const apiOf = (run) => `api/runs/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}`;

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
    details: (run, outputFrom) => ask(`${apiOf(run)}?output_from=${outputFrom}`),
    /** @type {(run: Run, name: string) => Promise<{ text: string }>} */
    file: (run, name) => ask(`${apiOf(run)}/files/${encodeURIComponent(name)}`),
    /** @type {(run: Run, kind: string, name: string) => Promise<Attached>} */
    attached: (run, kind, name) => ask(`${apiOf(run)}/${kind}/${encodeURIComponent(name)}`),
    /** @type {(path: string) => Promise<any>} */
    get: (path) => ask(`api/${path}`),
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
    /** @type {(run: Run, kind: string, name: string) => Promise<Attached>} */
    async attached(run, kind, name) {
      const record = await this.details(run);
      const found = runs.own(record.attached, `${kind}/${name}`);
      if (!found) throw new Error("not found");
      return found;
    },
    /** @type {(path: string) => Promise<any>} */
    get: (path) => load(path),
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
    /** @type {(run: Run, kind: string, name: string) => Promise<Attached>} */
    attached: (run, kind, name) => chosen.attached(run, kind, name),
    // What the server answers to GET api/PATH, or the file PATH.js of an export.
    /** @type {(path: string) => Promise<any>} */
    get: (path) => chosen.get(path),
    // Whether this page may change things: it was opened by the address that the dashboard printed.
    get allowed() {
      return state.live && key !== "";
    },
    /** @type {(run: Run, words: { name?: string, notes?: string, tags?: string[] }) => Promise<void>} */
    describe: (run, words) => send("PATCH", apiOf(run), words),
    /** @type {(run: Run) => Promise<void>} */
    remove: (run) => send("DELETE", apiOf(run), {}),
    /** @type {(model: string, payload: string, explain: boolean) => Promise<Answer>} */
    predict: (model, payload, explain) =>
      send("POST", `api/models/${encodeURIComponent(model)}/${explain ? "explain" : "predict"}`, payload),
    /** @type {(name: string, address: string, replace: boolean) => Promise<void>} */
    saveView: (name, address, replace) => send("POST", "api/views", { name, address, replace }),
    /** @type {(name: string) => Promise<void>} */
    removeView: (name) => send("DELETE", `api/views/${encodeURIComponent(name)}`, {}),
    // Where a file can be saved from; null in an export, which holds no models.
    /** @type {(run: Run, path: string) => string | null} */
    download: (run, path) =>
      chosen === server ? `files/${apiOf(run).slice(4)}/${path.split("/").map(encodeURIComponent).join("/")}` : null,
    /** @type {(listener: (state: State) => void) => Forget} */
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
})();
