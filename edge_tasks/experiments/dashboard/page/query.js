"use strict";

// The filter: words that must occur, and comparisons such as `accuracy > 0.9`; all of them must hold, `-` denies one.
const query = (() => {
  const TERM = /\s*(-?)(?:("[^"]*"|[^\s<>=!~"]+)\s*(>=|<=|!=|==?|>|<|~)\s*("[^"]*"|[^\s"]+)|("[^"]*"|\S+))/y;
  /** @type {Record<string, number>} */
  const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };

  /** @type {(text: string) => string} */
  const bare = (text) => (text.startsWith('"') && text.endsWith('"') && text.length > 1 ? text.slice(1, -1) : text);

  // Returns { test(run), problems: [sentences] }.
  /** @type {(text: string) => { test: (run: Run) => boolean, problems: string[] }} */
  function parse(text) {
    /** @type {((run: Run) => boolean)[]} */
    const tests = [];
    /** @type {string[]} */
    const problems = [];
    TERM.lastIndex = 0;
    for (let match = TERM.exec(text); match && match[0].trim(); match = TERM.exec(text)) {
      const [, minus, name, operator, value, word] = match;
      /** @type {(run: Run) => boolean} */
      let test;
      if (operator) {
        const column = runs.column(bare(name));
        if (!column) problems.push(`No run has \u201c${bare(name)}\u201d.`);
        test = column ? comparison(column, operator === "==" ? "=" : operator, bare(value)) : () => false;
      } else {
        const wanted = bare(word).toLowerCase();
        test = (run) => haystack(run).includes(wanted);
      }
      tests.push(minus ? (run) => !test(run) : test);
    }
    return { test: (run) => tests.every((test) => test(run)), problems };
  }

  /** @type {(column: Column, operator: string, wanted: string) => (run: Run) => boolean} */
  function comparison(column, operator, wanted) {
    const numbers = asNumber(column, wanted);
    const text = wanted.toLowerCase();
    return (run) => {
      const value = column.value(run);
      if (value === null || value === undefined) return false;
      const number = column.time ? Date.parse(String(value)) : value;
      if (numbers !== null && typeof number === "number") return compare(number, operator, numbers);
      const mine = format.whole(value).toLowerCase();
      if (operator === "~") return mine.includes(text);
      // Commits and run ids are written short.
      if (operator === "=" && (column.name === "commit" || column.name === "run")) return mine.startsWith(text);
      return compare(mine, operator, text);
    };
  }

  /** @type {(column: Column, wanted: string) => number | null} */
  function asNumber(column, wanted) {
    if (column.time) {
      const moment = Date.parse(/^\d{4}-\d{2}-\d{2}$/.test(wanted) ? `${wanted}T00:00` : wanted);
      return Number.isNaN(moment) ? null : moment;
    }
    const match = /^([\d.]+)([smhd])$/.exec(wanted);
    if (column.name === "took" && match) return Number(match[1]) * UNITS[match[2]];
    const number = Number(wanted);
    return wanted.trim() === "" || Number.isNaN(number) ? null : number;
  }

  /**
   * @template {number | string} T
   * @param {T} one
   * @param {string} operator
   * @param {T} other
   */
  function compare(one, operator, other) {
    switch (operator) {
      case "=":
        return one === other;
      case "!=":
        return one !== other;
      case ">":
        return one > other;
      case ">=":
        return one >= other;
      case "<":
        return one < other;
      case "<=":
        return one <= other;
      default:
        return String(one).includes(String(other));
    }
  }

  // A run's words, joined once for each version of its record.
  /** @type {WeakMap<Run, string>} */
  const words = new WeakMap();
  /** @type {(run: Run) => string} */
  function haystack(run) {
    let joined = words.get(run);
    if (joined === undefined) {
      const values = Object.entries(run.parameters).map(([name, value]) => `${name}=${format.whole(value)}`);
      const fields = [
        run.id,
        run.model,
        run.status,
        run.user,
        run.host,
        run.target,
        run.commit,
        run.serving,
        run.error,
      ];
      joined = [...fields, ...run.tags, ...Object.keys(run.metrics), ...values]
        .filter(Boolean)
        .join("\n")
        .toLowerCase();
      words.set(run, joined);
    }
    return joined;
  }

  // Values that are missing come last, whichever way it goes.
  /** @type {(list: Run[], column: Column, descending: boolean) => Run[]} */
  function sorted(list, column, descending) {
    const factor = descending ? -1 : 1;
    const keyed = list.map((run) => ({ key: rank(column.value(run)), run }));
    keyed.sort(({ key: one, run: oneRun }, { key: other, run: otherRun }) => {
      if (one === null || other === null) return Number(one === null) - Number(other === null) || tie(oneRun, otherRun);
      if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
      return one < other ? -factor : one > other ? factor : tie(oneRun, otherRun);
    });
    return keyed.map(({ run }) => run);
  }

  /** @type {(list: Run[]) => Run[]} */
  const newestFirst = (list) => [...list].sort(tie);

  /** @type {(one: Run, other: Run) => number} */
  const tie = (one, other) => (one.id < other.id ? 1 : -1);

  /** @type {(value: Value) => number | string | null} */
  function rank(value) {
    if (value === null || value === undefined || value === "" || runs.isNotFinite(value)) return null;
    if (typeof value === "number") return Number.isNaN(value) ? null : value;
    return format.whole(value).toLowerCase();
  }

  return { parse, sorted, newestFirst };
})();
