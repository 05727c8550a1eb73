"use strict";

// What differs between two texts, line by line.
const difference = (() => {
  const CONTEXT = 3;
  const MOST = 4000;

  /** @typedef {{ sign: " " | "-" | "+", text: string }} Line */

  // Longest common subsequence by way of the shortest edit script (Myers 1986), with equal ends cut off first.
  /** @type {(before: string[], after: string[]) => Line[]} */
  function lines(before, after) {
    let head = 0;
    while (head < before.length && head < after.length && before[head] === after[head]) head++;
    let tail = 0;
    while (tail < before.length - head && tail < after.length - head && before.at(-1 - tail) === after.at(-1 - tail))
      tail++;
    /** @type {(sign: Line["sign"]) => (text: string) => Line} */
    const as = (sign) => (text) => ({ sign, text });
    return [
      ...before.slice(0, head).map(as(" ")),
      ...middle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
      ...before.slice(before.length - tail).map(as(" ")),
    ];
  }

  /** @type {(before: string[], after: string[]) => Line[]} */
  function middle(before, after) {
    const [n, m] = [before.length, after.length];
    const whole = () => [
      ...before.map((text) => /** @type {Line} */ ({ sign: "-", text })),
      ...after.map((text) => /** @type {Line} */ ({ sign: "+", text })),
    ];
    if (!n || !m || n + m > MOST) return whole();
    /** @type {Map<number, number>} */
    let reach = new Map([[1, 0]]);
    /** @type {Map<number, number>[]} */
    const trace = [];
    for (let edits = 0; edits <= n + m; edits++) {
      trace.push(new Map(reach));
      for (let k = -edits; k <= edits; k += 2) {
        const down = k === -edits || (k !== edits && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
        let x = down ? (reach.get(k + 1) ?? 0) : (reach.get(k - 1) ?? 0) + 1;
        while (x < n && x - k < m && before[x] === after[x - k]) x++;
        reach.set(k, x);
        if (x >= n && x - k >= m) return back(trace, before, after);
      }
    }
    return whole();
  }

  /** @type {(trace: Map<number, number>[], before: string[], after: string[]) => Line[]} */
  function back(trace, before, after) {
    /** @type {Line[]} */
    const found = [];
    let [x, y] = [before.length, after.length];
    for (let edits = trace.length - 1; edits >= 0; edits--) {
      const reach = trace[edits];
      const k = x - y;
      const down = k === -edits || (k !== edits && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
      const fromK = down ? k + 1 : k - 1;
      const fromX = edits === 0 ? 0 : (reach.get(fromK) ?? 0);
      const fromY = edits === 0 ? 0 : fromX - fromK;
      while (x > fromX && y > fromY) {
        found.push({ sign: " ", text: before[--x] });
        y--;
      }
      if (edits > 0) {
        if (down) found.push({ sign: "+", text: after[--y] });
        else found.push({ sign: "-", text: before[--x] });
      }
    }
    return found.reverse();
  }

  // The lines that differ, with some around them.
  /** @type {(before: string, after: string) => HTMLElement | null} */
  function draw(before, after) {
    if (before === after) return null;
    const all = lines(before.split("\n"), after.split("\n"));
    const near = new Set(
      all.flatMap((line, place) =>
        line.sign === " " ? [] : Array.from({ length: 2 * CONTEXT + 1 }, (_, offset) => place + offset - CONTEXT),
      ),
    );
    /** @type {Child[]} */
    const shown = [];
    let gap = false;
    all.forEach((line, place) => {
      if (!near.has(place)) {
        gap = true;
        return;
      }
      if (gap) shown.push(dom.make("span", { class: "diff-gap" }, "\u22ef\n"));
      gap = false;
      const look = { " ": "diff-same", "-": "diff-before", "+": "diff-after" }[line.sign];
      shown.push(dom.make("span", { class: look }, `${line.sign} ${line.text}\n`));
    });
    return dom.make("pre", { class: "code diff", tabindex: 0 }, shown);
  }

  return { lines, draw };
})();
