"use strict";

// What is told of models, endpoints, jobs, pipelines and monitoring: asked again and again while a page shows it.
const loop = (() => {
  const INTERVAL = 4000;
  const SLOW = 8000;

  /** @type {Map<string, Section<any>>} */
  const known = new Map();
  /** @type {Map<string, Set<() => void>>} */
  const listeners = new Map();
  /** @type {Set<string>} */
  const asking = new Set();

  /** @type {(name: string) => Promise<void>} */
  async function ask(name) {
    if (asking.has(name)) return;
    asking.add(name);
    let pause = INTERVAL;
    try {
      known.set(name, await source.get(`loop/${name}`));
    } catch (error) {
      const problem = { problem: `it cannot be read: ${dom.message(error)}`, hint: null };
      const before = known.get(name);
      known.set(name, before ?? { now: "", read: null, problem, content: null });
      pause = SLOW;
    }
    for (const listener of [...(listeners.get(name) ?? [])]) listener();
    if (source.state.live) {
      if (document.hidden)
        await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
      else await new Promise((later) => setTimeout(later, pause));
    }
    asking.delete(name);
    if (source.state.live && listeners.get(name)?.size) ask(name);
  }

  // Call `listener` whenever the section was read; returns a function that ends it.
  /** @type {(name: string, listener: () => void) => Forget} */
  function watch(name, listener) {
    const mine = listeners.get(name) ?? new Set();
    listeners.set(name, mine);
    mine.add(listener);
    if (source.state.live || !known.has(name)) ask(name);
    return () => mine.delete(listener);
  }

  /**
   * @template T
   * @param {string} name
   * @returns {Section<T> | undefined}
   */
  const get = (name) => known.get(name);

  // What a page shows in place of a section that is not there: why, or that it is being read. Null when it is there.
  /** @type {(name: string, what: string) => HTMLElement | null} */
  function missing(name, what) {
    const section = known.get(name);
    if (section?.content) return null;
    if (!section) return dom.empty(`Looking for ${what}\u2026`);
    const trouble = section.problem;
    return dom.empty(
      `The ${what} cannot be read`,
      trouble && dom.make("p", {}, dom.sentence(trouble.problem)),
      trouble?.hint && dom.make("p", {}, dom.sentence(trouble.hint)),
    );
  }

  // A line above what was read before, when it could not be read again.
  /** @type {(name: string) => HTMLElement | null} */
  function stale(name) {
    const section = known.get(name);
    if (!section?.content || !section.problem) return null;
    return dom.make("p", { class: "note warn", role: "status" }, dom.sentence(section.problem.problem));
  }

  return { watch, get, missing, stale };
})();
