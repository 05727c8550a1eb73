"use strict";

// Parallel coordinates: one upright axis for each parameter and metric, one line for each run.
const parallel = (() => {
  const HEIGHT = 300;
  const TOP = 34;
  const BOTTOM = 24;
  const SIDE = 64;
  const LEAST = 96;
  // Axes with words instead of numbers show at most as many words.
  const MOST_WORDS = 24;
  const MANY = 300;
  const MOST_OUTSIDE = 2000;
  // Milliseconds of drawing in one frame.
  const FRAME = 8;

  /** @type {(one: Value, other: Value) => number} */
  function numbersFirst(one, other) {
    if (typeof one === "number" && typeof other === "number") return one - other;
    if (typeof one === "number" || typeof other === "number") return typeof one === "number" ? -1 : 1;
    return String(one) < String(other) ? -1 : 1;
  }

  // `on` has over(run or null), open(run) and brushed(runs).
  /**
   * @param {{ over: (run: Run | null) => void, open: (run: Run) => void, brushed: (inside: Run[]) => void }} on
   */
  function create(on) {
    const canvas = dom.make("canvas", { role: "img" });
    const layer = dom.make("div", { class: "axes" });
    const stage = dom.make("div", { class: "stage" }, canvas, layer);
    const element = dom.make("div", { class: "parallel" }, stage);
    /** @type {Map<string, [number, number]>} */
    const brushes = new Map();
    /** @type {Run[]} */
    let list = [];
    /** @type {Axis[]} */
    let axes = [];
    /** @type {(run: Run) => string} */
    let colourOf = () => "";
    /** @type {Run | null} */
    let over = null;
    let width = 0;

    const forgetTheme = theme.onChange(() => draw());
    const observer = new ResizeObserver(() => width !== roomFor() && lay());
    observer.observe(element);

    // `colours(run)` gives a run's colour, called again for each drawing.
    /** @type {(wanted: Run[], columns: Column[], colours: (run: Run) => string) => void} */
    function set(wanted, columns, colours) {
      list = wanted;
      colourOf = colours;
      axes = columns.flatMap((column) => axisOf(column) ?? []);
      for (const axis of axes) {
        axis.shares = Float64Array.from(list, (run) => axis.part(axis.column.value(run)));
        if (list.length > MANY) spread(axis);
      }
      for (const key of [...brushes.keys()]) if (!axes.some((axis) => axis.column.key === key)) brushes.delete(key);
      lay();
    }

    // Where many runs share few values, their lines would hide each other: lay them a little apart.
    /** @type {(axis: Axis) => void} */
    function spread(axis) {
      if (new Set(axis.shares).size > MOST_WORDS) return;
      /** @type {(share: number) => number} */
      const squeezed = (share) => 0.03 + 0.94 * share;
      axis.shares = axis.shares.map((share, place) => squeezed(share) + (((place * 0.618) % 1) - 0.5) * 0.05);
      axis.ticks = axis.ticks.map((tick) => ({ ...tick, share: squeezed(tick.share) }));
    }

    // Other values than numbers lie below them, so that no line is cut.
    const SLOT = 0.1;
    const MOST_SLOTS = 3;

    /** @type {(value: Value) => string} */
    const word = (value) => (value === null || value === undefined ? "none" : format.short(value));

    /** @type {(column: Column) => Axis | null} */
    function axisOf(column) {
      const values = list.map((run) => column.value(run));
      const numbers = values.flatMap((value) => (typeof value === "number" && Number.isFinite(value) ? [value] : []));
      const others = [...new Set(values.filter((value) => !Number.isFinite(value)).map(word))].sort();
      const present = values.filter((value) => (value ?? null) !== null).length;
      if (!present) return null;
      return numbers.length * 2 > present || (numbers.length > 0 && column.numeric)
        ? axisOfNumbers(column, numbers, others)
        : axisOfWords(column, values);
    }

    /** @type {(column: Column, numbers: number[], others: string[]) => Axis} */
    function axisOfNumbers(column, numbers, others) {
      // Not Math.min(...numbers): ten thousand arguments are too many.
      const low = numbers.reduce((one, other) => Math.min(one, other));
      const high = numbers.reduce((one, other) => Math.max(one, other));
      const logarithmic = low > 0 && high / low >= 30;
      /** @type {(value: number) => number} */
      const scale = logarithmic ? Math.log10 : (value) => value;
      const span = scale(high) - scale(low);
      const named = others.length <= MOST_SLOTS ? others : ["others"];
      const base = named.length * SLOT;
      /** @type {(value: Value) => number} */
      const part = (value) => {
        if (typeof value !== "number" || !Number.isFinite(value)) return Math.max(0, named.indexOf(word(value))) * SLOT;
        return base + (1 - base) * (span ? (scale(value) - scale(low)) / span : 0.5);
      };
      const ticks = ticksOf(low, high, logarithmic).map((value) => ({
        share: part(value),
        text: format.number(value),
      }));
      const below = named.map((text, place) => ({ share: place * SLOT, text, odd: true }));
      return { column, part, ticks: [...below, ...ticks], logarithmic, ...undrawn() };
    }

    /** @type {(column: Column, values: Value[]) => Axis | null} */
    function axisOfWords(column, values) {
      const words = [...new Set([...values].sort(numbersFirst).map(word))];
      if (words.length > MOST_WORDS) return null;
      const places = new Map(words.map((text, place) => [text, words.length > 1 ? place / (words.length - 1) : 0.5]));
      const ticks = words.map((text) => ({ share: places.get(text) ?? 0.5, text, odd: text === "none" }));
      return { column, part: (value) => places.get(word(value)) ?? 0, ticks, logarithmic: false, ...undrawn() };
    }

    const undrawn = () => ({ shares: new Float64Array(), brush: dom.make("div", { class: "brush", hidden: true }) });

    // Round numbers between `low` and `high`; the two themselves when there are no two of those.
    /** @type {(low: number, high: number, logarithmic: boolean) => number[]} */
    function ticksOf(low, high, logarithmic) {
      if (low === high) return [low];
      /** @type {number[]} */
      const found = [];
      if (logarithmic) {
        const parts = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
        for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
          for (const part of parts) found.push(Number((part * 10 ** power).toPrecision(1)));
        }
      } else {
        const rough = (high - low) / 4;
        const power = 10 ** Math.floor(Math.log10(rough));
        const step = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
        for (let place = Math.ceil(low / step); place * step <= high; place++)
          found.push(Number((place * step).toPrecision(12)));
      }
      const within = found.filter((value) => value >= low && value <= high);
      return within.length < 2 ? [low, high] : within;
    }

    // -- where things are --

    /** @type {(place: number) => number} */
    const xOf = (place) => (axes.length > 1 ? SIDE + (place * (width - 2 * SIDE)) / (axes.length - 1) : width / 2);
    /** @type {(share: number) => number} */
    const yOf = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    /** @type {(y: number) => number} */
    const shareOf = (y) => Math.min(1, Math.max(0, (HEIGHT - BOTTOM - y) / (HEIGHT - TOP - BOTTOM)));

    const roomFor = () => Math.max(element.clientWidth, 2 * SIDE + (axes.length - 1) * LEAST);

    function lay() {
      width = roomFor();
      stage.style.width = `${width}px`;
      stage.style.height = `${HEIGHT}px`;
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(HEIGHT * ratio);
      buildAxes();
      draw();
    }

    function buildAxes() {
      dom.fill(
        layer,
        axes.map((axis, place) => {
          const name = dom.make(
            "span",
            { class: `axis-name kind-${axis.column.kind}`, title: axis.column.key },
            axis.column.label,
          );
          const box = dom.make(
            "div",
            { class: "axis", tabindex: 0, role: "group", "data-key": axis.column.key },
            name,
            axis.brush,
          );
          box.setAttribute(
            "aria-label",
            `${axis.column.label}${axis.logarithmic ? ", logarithmic" : ""}: arrow keys choose a part, Escape chooses all`,
          );
          box.style.left = `${xOf(place) - 24}px`;
          for (const tick of axis.ticks) {
            const label = dom.make("span", { class: tick.odd ? "tick odd" : "tick", title: tick.text }, tick.text);
            label.style.top = `${yOf(tick.share) - 8}px`;
            box.append(label);
          }
          box.addEventListener("pointerdown", (event) => startBrush(axis, box, event));
          box.addEventListener("keydown", (event) => brushByKey(axis, event));
          return box;
        }),
      );
      placeBrushes();
    }

    // -- choosing a part of an axis --

    /** @type {(axis: Axis, box: HTMLElement, event: PointerEvent) => void} */
    function startBrush(axis, box, event) {
      if (event.button !== 0) return;
      const top = stage.getBoundingClientRect().top;
      const from = shareOf(event.clientY - top);
      box.setPointerCapture(event.pointerId);
      /** @type {(moved: PointerEvent) => void} */
      const move = (moved) => {
        const to = shareOf(moved.clientY - top);
        if (Math.abs(to - from) > 0.01) setBrush(axis, [Math.min(from, to), Math.max(from, to)]);
      };
      /** @type {(stopped: PointerEvent) => void} */
      const stop = (stopped) => {
        box.removeEventListener("pointermove", move);
        if (Math.abs(shareOf(stopped.clientY - top) - from) <= 0.01) setBrush(axis, null);
      };
      box.addEventListener("pointermove", move);
      box.addEventListener("pointerup", stop, { once: true });
    }

    /** @type {(axis: Axis, event: KeyboardEvent) => void} */
    function brushByKey(axis, event) {
      const [low, high] = brushes.get(axis.column.key) ?? [0, 1];
      const step = 0.05;
      if (event.key === "Escape") setBrush(axis, null);
      else if (event.key === "ArrowUp" && event.shiftKey) setBrush(axis, [low, Math.min(1, high + step)]);
      else if (event.key === "ArrowDown" && event.shiftKey) setBrush(axis, [low, Math.max(low + step, high - step)]);
      else if (event.key === "ArrowUp") setBrush(axis, [Math.min(high - step, low + step), high]);
      else if (event.key === "ArrowDown") setBrush(axis, [Math.max(0, low - step), high]);
      else return;
      event.preventDefault();
    }

    /** @type {(axis: Axis, range: [number, number] | null) => void} */
    function setBrush(axis, range) {
      if (range === null || (range[0] <= 0 && range[1] >= 1)) brushes.delete(axis.column.key);
      else brushes.set(axis.column.key, range);
      placeBrushes();
      draw();
      on.brushed(list.filter((_, run) => within(run)));
    }

    function placeBrushes() {
      for (const axis of axes) {
        const range = brushes.get(axis.column.key);
        axis.brush.hidden = !range;
        if (!range) continue;
        axis.brush.style.top = `${yOf(range[1])}px`;
        axis.brush.style.height = `${yOf(range[0]) - yOf(range[1])}px`;
      }
    }

    // From here on a run is its place in the list.
    /** @type {(place: number) => boolean} */
    function within(place) {
      for (const axis of axes) {
        const range = brushes.get(axis.column.key);
        if (!range) continue;
        const share = axis.shares[place];
        if (!(share >= range[0] - 1e-9 && share <= range[1] + 1e-9)) return false;
      }
      return true;
    }

    // -- drawing --

    /** @type {(context: CanvasRenderingContext2D, place: number) => void} */
    function trace(context, place) {
      context.beginPath();
      if (axes.length === 1) {
        context.moveTo(xOf(0) - 14, yOf(axes[0].shares[place]));
        context.lineTo(xOf(0) + 14, yOf(axes[0].shares[place]));
      }
      let begun = false;
      for (let index = 0; index < axes.length; index++) {
        const share = axes[index].shares[place];
        if (Number.isNaN(share)) {
          begun = false;
          continue;
        }
        if (begun) context.lineTo(xOf(index), yOf(share));
        else context.moveTo(xOf(index), yOf(share));
        begun = true;
      }
      context.stroke();
    }

    // Thousands of lines are drawn over several frames, so that the page stays fluid meanwhile.
    let drawing = 0;

    function draw() {
      const context = canvas.getContext("2d");
      if (!context) return;
      const ratio = window.devicePixelRatio || 1;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, HEIGHT);
      /** @type {number[]} */
      const inside = [];
      /** @type {number[]} */
      const outside = [];
      list.forEach((_, place) => (within(place) ? inside : outside).push(place));
      const many = inside.length > MANY;
      /** @type {[place: number, colour: string, alpha: number, lineWidth: number][]} */
      const steps = outside.slice(0, MOST_OUTSIDE).map((place) => [place, theme.colour("line-strong"), 0.35, 1]);
      const alpha = over !== null ? 0.12 : many ? Math.max(0.06, 40 / inside.length) : 0.85;
      for (const place of inside) steps.push([place, colourOf(list[place]), alpha, many ? 1 : 1.6]);
      if (over !== null) steps.push([list.indexOf(over), colourOf(over), 1, 2.6]);
      canvas.setAttribute(
        "aria-label",
        `Parallel coordinates of ${format.count(list.length, "run")} over ${axes.map((axis) => axis.column.label).join(", ")}; ${inside.length} inside the chosen parts`,
      );

      let next = 0;
      const some = () => {
        const begin = performance.now();
        while (next < steps.length && performance.now() - begin < FRAME) {
          const [place, colour, alpha, lineWidth] = steps[next++];
          context.strokeStyle = colour;
          context.globalAlpha = alpha;
          context.lineWidth = lineWidth;
          trace(context, place);
        }
        drawing = next < steps.length ? requestAnimationFrame(some) : 0;
      };
      cancelAnimationFrame(drawing);
      some();
    }

    // -- the run under the pointer --

    /** @type {(event: MouseEvent) => Run | null} */
    function nearest(event) {
      const box = stage.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      /** @type {Run | null} */
      let best = null;
      let least = 8;
      for (let run = 0; run < list.length; run++) {
        if (!within(run)) continue;
        for (let place = 0; place + 1 < axes.length; place++) {
          const [left, right] = [xOf(place), xOf(place + 1)];
          if (x < left || x > right) continue;
          const one = axes[place].shares[run];
          const other = axes[place + 1].shares[run];
          // NaN, where a value is missing, is nearer to nothing.
          const part = (x - left) / (right - left);
          const distance = Math.abs(yOf(one) + part * (yOf(other) - yOf(one)) - y);
          if (distance < least) [best, least] = [list[run], distance];
        }
      }
      return best;
    }

    /** @type {(run: Run | null) => void} */
    function emphasise(run) {
      if (over === run) return;
      over = run;
      draw();
    }

    stage.addEventListener("pointermove", (event) => {
      if (event.buttons) return;
      const found = nearest(event);
      stage.classList.toggle("on-line", found !== null);
      if (found !== over) {
        emphasise(found);
        on.over(found);
      }
    });
    stage.addEventListener("pointerleave", () => {
      emphasise(null);
      on.over(null);
    });
    stage.addEventListener("click", (event) => {
      if (event.target === canvas || event.target === layer) {
        const found = nearest(event);
        if (found) on.open(found);
      }
    });

    function end() {
      cancelAnimationFrame(drawing);
      forgetTheme();
      observer.disconnect();
    }

    return {
      element,
      set,
      emphasise,
      end,
      get axes() {
        return axes.map((axis) => axis.column.key);
      },
    };
  }

  return { create };
})();
