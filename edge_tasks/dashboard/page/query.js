"use strict";

// Filters of runs: words that must occur, and comparisons such as `accuracy > 0.9`; all of them must hold, `-` denies
// one. This is domain/run_filter.py in JavaScript; tests/run_filter_cases.py holds both to one table of cases.
const query = (() => {
  const BARE = /(?:[^\s"<>=!~()]|!(?!=))+/y;
  const SIGN = />=|<=|!=|==?|>|<|~/y;
  const LIST = /\[[^\]]*\]/y;
  const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
  const SPAN = /^(\d+\.?\d*|\.\d+)([smhd]?)$/;
  const TIME = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/;
  /** @type {Record<string, number>} */
  const UNITS = { "": 1, s: 1, m: 60, h: 3600, d: 86400 };
  const STATUSES = ["queued", "running", "completed", "failed", "interrupted", "died"];
  const DAY = 86400000;
  /** @type {Record<string, number>} */
  const NOT_FINITE = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

  class Refusal extends Error {}

  /** @type {(place: number, why: string) => never} */
  function refuse(place, why) {
    throw new Refusal(`character ${place + 1} of the filter: ${why}`);
  }

  // -- reading --

  /** @type {(text: string) => Term[]} */
  function read(text) {
    let at = 0;
    /** @type {Term[]} */
    const terms = [];

    /** @type {(pattern: RegExp) => string | null} */
    const take = (pattern) => {
      pattern.lastIndex = at;
      const found = pattern.exec(text);
      if (found) at = pattern.lastIndex;
      return found ? found[0] : null;
    };
    const skip = () => take(/\s*/y);
    /** @type {() => string | null} */
    const word = () => {
      if (text[at] !== '"') return take(BARE);
      const end = text.indexOf('"', at + 1);
      if (end < 0) refuse(at, "the quotation mark is not closed");
      const found = text.slice(at + 1, end);
      at = end + 1;
      return found;
    };
    /** @type {(wanted: string) => string} */
    const unexpected = (wanted) =>
      `${wanted} is expected, and there is ${text[at]?.trim() ? `\`${text[at]}\`` : "nothing"}`;

    skip();
    while (at < text.length) {
      const denied = text[at] === "-";
      if (denied) at++;
      let place = at;
      const first = word();
      if (first === null) {
        const sign = take(SIGN);
        refuse(place, sign ? `a name is expected before \`${sign}\`` : unexpected("a word"));
      }
      skip();
      const sign = take(SIGN);
      if (sign === null) terms.push({ denied, name: null, sign: "", value: first, place: place + 1 });
      else {
        skip();
        place = at;
        const value = take(LIST) ?? word();
        if (value === null) refuse(place, unexpected("a value"));
        terms.push({ denied, name: first, sign: sign === "==" ? "=" : sign, value, place: place + 1 });
      }
      skip();
    }
    return terms;
  }

  // -- checking --

  /** @type {(term: Term, column: Column) => void} */
  function check(term, column) {
    const { name, sign, value, place } = term;
    let wrong = "";
    if (column.key === "status" && sign !== "~" && !STATUSES.includes(value.toLowerCase()))
      wrong = `a status is one of ${STATUSES.join(", ")}`;
    else if (column.key === "took" && sign !== "~" && span(value) === null)
      wrong = "`took` is a time such as 90s, 10m or 2h";
    else if (column.time && period(value) === null)
      wrong = `\`${name}\` is a date such as 2026-11-20 or 2026-11-20T10:00Z`;
    else if (column.kind !== "field" && column.pure && isOrder(sign) && number(value) === null)
      wrong = `\`${name}\` is a number`;
    if (wrong) refuse(place - 1, `${wrong}, which \`${value}\` is not`);
  }

  // Returns { test(run), problem: a sentence, or null when the filter makes sense }.
  /** @type {(text: string) => { test: (run: Run) => boolean, problem: string | null }} */
  function parse(text) {
    try {
      const tests = read(text).map((term) => {
        const test = condition(term);
        return term.denied ? (/** @type {Run} */ run) => !test(run) : test;
      });
      return { test: (run) => tests.every((test) => test(run)), problem: null };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { test: () => false, problem: error.message };
    }
  }

  /** @type {(term: Term) => (run: Run) => boolean} */
  function condition(term) {
    if (term.name === null) {
      const wanted = term.value.toLowerCase();
      return (run) => haystack(run).includes(wanted);
    }
    const column = runs.column(term.name);
    if (!column) throw new Refusal(`no run has \`${term.name}\``);
    check(term, column);
    return (run) => {
      const value = column.value(run);
      if (value === null || value === undefined || Number.isNaN(value)) return false;
      return compares(term, column, value);
    };
  }

  // -- comparing --

  /** @type {(term: Term, column: Column, value: Value) => boolean} */
  function compares({ sign, value: wanted }, column, value) {
    if (column.time) {
      const limits = period(wanted);
      return limits !== null && inTime(Date.parse(String(value)), sign, ...limits);
    }
    const other = column.key === "took" ? span(wanted) : number(wanted);
    const mine = asNumber(column.key === "version" && /^\d+$/.test(String(value)) ? Number(value) : value);
    if (isOrder(sign) && (other === null) !== (mine === null)) return false;
    if (other !== null && mine !== null && sign !== "~") return compared(mine, sign, other);
    const [text, part] = [format.whole(value).toLowerCase(), asList(wanted).toLowerCase()];
    // Commits and run ids are written short.
    if (sign === "=" && (column.key === "commit" || column.key === "run")) return text.startsWith(part);
    return sign === "~" ? text.includes(part) : compared(text, sign, part);
  }

  /**
   * @template {number | string} T
   * @param {T} one
   * @param {string} sign
   * @param {T} other
   */
  function compared(one, sign, other) {
    if (sign === "=") return one === other;
    if (sign === "!=") return one !== other;
    if (sign === ">") return one > other;
    if (sign === ">=") return one >= other;
    return sign === "<" ? one < other : one <= other;
  }

  // A day is as long as it is, a moment has no length.
  /** @type {(value: number, sign: string, low: number, high: number) => boolean} */
  function inTime(value, sign, low, high) {
    const same = (low <= value && value < high) || value === low;
    if (sign === "=" || sign === "~") return same;
    if (sign === "!=") return !same;
    if (sign === "<=") return value < low || same;
    return compared(value, sign, low);
  }

  /** @type {(sign: string) => boolean} */
  const isOrder = (sign) => /^[<>]=?$/.test(sign);
  /** @type {(text: string) => number | null} */
  const number = (text) => (NUMBER.test(text) ? Number(text) : null);

  /** @type {(text: string) => number | null} */
  function span(text) {
    const found = SPAN.exec(text);
    return found ? Number(found[1]) * UNITS[found[2]] : null;
  }

  /** @type {(text: string) => [number, number] | null} */
  function period(text) {
    if (!TIME.test(text)) return null;
    const wholeDay = !text.includes("T");
    const low = Date.parse(wholeDay ? `${text}T00:00` : text);
    if (Number.isNaN(low)) return null;
    return [low, wholeDay ? low + DAY : low];
  }

  /** @type {(value: Value) => number | null} */
  function asNumber(value) {
    if (typeof value === "number") return value;
    return typeof value === "string" && Object.hasOwn(NOT_FINITE, value) ? NOT_FINITE[value] : null;
  }

  /** @type {(text: string) => string} */
  function asList(text) {
    if (!text.startsWith("[")) return text;
    try {
      return JSON.stringify(JSON.parse(text));
    } catch {
      return text;
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
        ...[run.id, run.name, run.model, run.status, run.user, run.host, run.target, run.commit, run.serving],
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

  // Values that are missing come last, whichever way it goes; of equal ones the later key is first.
  /**
   * @template R
   * @param {R[]} list
   * @param {Column<R>} column
   * @param {boolean} descending
   * @param {(row: R) => string} keyOf
   * @returns {R[]}
   */
  function sorted(list, column, descending, keyOf) {
    const factor = descending ? -1 : 1;
    const keyed = list.map((row) => ({ rank: rank(column.value(row)), key: keyOf(row), row }));
    keyed.sort((one, other) => {
      const tie = one.key < other.key ? 1 : one.key > other.key ? -1 : 0;
      if (one.rank === null || other.rank === null)
        return Number(one.rank === null) - Number(other.rank === null) || tie;
      if (typeof one.rank !== typeof other.rank) return typeof one.rank === "number" ? -1 : 1;
      return one.rank < other.rank ? -factor : one.rank > other.rank ? factor : tie;
    });
    return keyed.map(({ row }) => row);
  }

  /** @type {(list: Run[]) => Run[]} */
  const newestFirst = (list) => [...list].sort((one, other) => (one.id < other.id ? 1 : -1));

  /** @type {(value: Value) => number | string | null} */
  function rank(value) {
    if (value === null || value === undefined || value === "" || runs.isNotFinite(value)) return null;
    if (typeof value === "number") return Number.isNaN(value) ? null : value;
    return format.whole(value).toLowerCase();
  }

  return { parse, sorted, newestFirst };
})();
