"use strict";

// All runs that the page knows, and the columns that they have.
const runs = (() => {
  /** @type {Map<string, Run>} */
  const all = new Map();
  /** @type {{ parameter: Map<string, Column>, metric: Map<string, Column> }} */
  const names = { parameter: new Map(), metric: new Map() };
  /** @type {Set<(changed: Set<string>) => void>} */
  const listeners = new Set();
  // How far this machine's clock is behind the server's, in milliseconds.
  let clock = 0;

  /** @type {(run: { model: string, id: string }) => string} */
  const key = (run) => `${run.model}/${run.id}`;
  // Records are foreign: a parameter may be called `constructor`.
  /**
   * @template T
   * @param {Record<string, T>} values
   * @param {string} name
   */
  const own = (values, name) => (Object.hasOwn(values, name) ? values[name] : undefined);
  const now = () => Date.now() + clock;

  // NaN before it began.
  /** @type {(run: Run) => number} */
  function seconds(run) {
    const end = run.ended ? Date.parse(run.ended) : run.status === "running" ? now() : Date.parse(run.heartbeat ?? "");
    return Math.max(0, (end - Date.parse(run.started ?? "")) / 1000);
  }

  // What stands before the metrics and parameters, and what after them.
  const LEADING = ["run", "name", "status", "model", "started", "took"];
  /** @type {(Partial<Column> & { name: string, value: Column["value"] })[]} */
  const NAMED = [
    { name: "run", value: (run) => run.id },
    { name: "name", value: (run) => run.name },
    { name: "status", value: (run) => run.status },
    { name: "model", value: (run) => run.model },
    { name: "started", value: (run) => run.started, show: (run) => format.time(run.started), time: true },
    { name: "took", value: seconds, show: (run) => format.duration(seconds(run)), numeric: true },
    { name: "created", value: (run) => run.created, show: (run) => format.time(run.created), time: true },
    { name: "ended", value: (run) => run.ended, show: (run) => format.time(run.ended), time: true },
    { name: "user", value: (run) => run.user },
    { name: "host", value: (run) => run.host },
    { name: "target", value: (run) => run.target },
    { name: "commit", value: (run) => run.commit, show: (run) => commit(run), mono: true },
    { name: "data", value: (run) => run.data, mono: true },
    { name: "version", value: (run) => run.version },
    { name: "serving", value: (run) => run.serving },
    { name: "tags", value: (run) => (run.tags.length ? run.tags.join(", ") : null) },
  ];
  /** @type {Column[]} */
  const FIELDS = NAMED.map((field) => ({
    kind: "field",
    key: field.name,
    label: field.name,
    numeric: false,
    ...field,
  }));

  /** @type {(run: Run) => string} */
  const commit = (run) => (run.commit ? run.commit.slice(0, 8) + (run.dirty ? "*" : "") : "");

  /** @type {(kind: "metric" | "parameter", values: Record<string, Value>) => void} */
  function note(kind, values) {
    for (const name of Object.keys(values)) {
      let column = names[kind].get(name);
      if (!column) {
        const group = kind === "metric" ? "metrics" : "parameters";
        column = {
          kind,
          name,
          key: `${group}.${name}`,
          label: name,
          numeric: true,
          pure: true,
          numbers: 0,
          value: (run) => own(run[group], name),
          distinct: new Set(),
        };
        names[kind].set(name, column);
      }
      // A column is one of numbers when most of its values are: one odd word moves nothing.
      const value = values[name];
      if (typeof value === "number") column.numbers = (column.numbers ?? 0) + 1;
      else if (value !== null && !isNotFinite(value)) {
        column.numbers = (column.numbers ?? 0) - 1;
        column.pure = false;
      }
      column.numeric = (column.numbers ?? 0) > 0 || column.pure === true;
      // Enough to tell what differs from what is the same in every run.
      if (column.distinct && column.distinct.size < 2) column.distinct.add(format.whole(value));
    }
  }

  // JSON has no such numbers, so they come as words.
  /** @type {(value: Value) => boolean} */
  const isNotFinite = (value) => value === "NaN" || value === "Infinity" || value === "-Infinity";

  function forget() {
    all.clear();
    names.parameter.clear();
    names.metric.clear();
  }

  // `update` is what the server answers: runs that are new or changed, and keys of those that are gone.
  /** @type {(update: Update) => void} */
  function receive(update) {
    clock = Date.parse(update.now) - Date.now();
    if (update.whole) forget();
    for (const removed of update.removed) all.delete(removed);
    for (const run of update.runs) {
      all.set(key(run), run);
      note("parameter", run.parameters);
      note("metric", run.metrics);
    }
    if (update.whole || update.runs.length || update.removed.length) {
      const changed = new Set([...update.runs.map(key), ...update.removed]);
      for (const listener of [...listeners]) listener(changed);
    }
  }

  /** @type {(one: Column, other: Column) => number} */
  const byName = (one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);

  /** @type {() => Column[]} */
  function columns() {
    const metrics = [...names.metric.values()].sort(byName);
    const parameters = [...names.parameter.values()].sort(byName);
    const [leading, trailing] = [true, false].map((wanted) =>
      FIELDS.filter((field) => LEADING.includes(field.key) === wanted),
    );
    return [...leading, ...metrics, ...parameters, ...trailing];
  }

  // A name as typed in the filter: a field, a metric, a parameter, in this order; `metrics.loss` is the metric.
  /** @type {(typed: string) => Column | undefined} */
  function column(typed) {
    const wanted = typed.toLowerCase();
    const field = FIELDS.find((candidate) => candidate.key === wanted);
    if (field) return field;
    const metrics = [...names.metric.values()];
    const parameters = [...names.parameter.values()];
    /** @type {(test: (name: string) => boolean) => Column | undefined} */
    const find = (test) => [...metrics, ...parameters].find((candidate) => test(candidate.key) || test(candidate.name));
    return find((name) => name === typed) ?? find((name) => name.toLowerCase() === wanted);
  }

  /** @type {(column: Column, run: Run) => string} */
  const show = (column, run) => (column.show ? column.show(run) : format.short(column.value(run)));

  // Which of a metric's values is the best, where its name tells whether more is better; else undefined.
  const LESS = /loss|error|rmse|\bmse|mae|mape|deviance|perplexity|brier|seconds|latency/i;
  const MORE = /accuracy|\bacc|auc|f1|precision|recall|score|r2|kappa|ndcg|gain|lift|iou|bleu|rouge/i;
  /** @type {(metric: string, values: number[]) => number | undefined} */
  function best(metric, values) {
    const found = values.filter(Number.isFinite);
    if (found.length < 2) return undefined;
    if (LESS.test(metric)) return found.reduce((one, other) => Math.min(one, other));
    return MORE.test(metric) ? found.reduce((one, other) => Math.max(one, other)) : undefined;
  }

  /** @type {(wanted: string) => Column | undefined} */
  const byKey = (wanted) => columns().find((candidate) => candidate.key === wanted);

  /** @type {(chosen: string[]) => string} */
  const compareAddress = (chosen) => `#/compare?${new URLSearchParams(chosen.map((one) => ["run", one]))}`;

  /** @type {Kind<Run>} */
  const kind = {
    label: "Runs",
    noun: "run",
    pinned: "run",
    selectable: true,
    all: () => [...all.values()],
    key,
    name: (run) => run.id,
    address: (run) => grid.address(run),
    lives: (run) => run.status === "running",
  };

  return {
    kind,
    best,
    byKey,
    compareAddress,
    key,
    own,
    now,
    seconds,
    commit,
    receive,
    columns,
    column,
    show,
    isNotFinite,
    /** @type {(wanted: string) => Run | undefined} */
    get: (wanted) => all.get(wanted),
    list: () => [...all.values()],
    get size() {
      return all.size;
    },
    // Returns a function that ends it.
    /** @type {(listener: (changed: Set<string>) => void) => Forget} */
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
})();
