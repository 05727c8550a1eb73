"use strict";

// Runs as points over any two columns, coloured by a third.
const scatter = (() => {
  const HEIGHT = 320;
  const EDGE = { left: 58, right: 16, top: 12, bottom: 30 };
  const NEAR = 10;

  const AXES = ["x", "y", "colour"];

  // `chosen` are axes that an address tells; `changed` is told of those that the user chooses.
  /** @type {(open: (run: Run) => void, chosen: URLSearchParams, changed: (axis: string, key: string) => void) => { element: HTMLElement, set: (wanted: Run[]) => void, end: Forget }} */
  function create(open, chosen, changed) {
    const canvas = dom.make("canvas", { role: "img" });
    const told = dom.make("div", { class: "scatter-told", hidden: true });
    const stage = dom.make("div", { class: "scatter" }, canvas, told);
    const [x, y, colour] = AXES.map((name) => {
      const told = chosen.get(`scatter-${name}`);
      const input = dom.make("select", { "data-axis": name, "data-chosen": told });
      input.addEventListener("change", () => {
        input.dataset.chosen = input.value;
        changed(`scatter-${name}`, input.value);
        draw();
      });
      return { input, label: dom.make("label", {}, `${name} `, input) };
    });
    const element = dom.make("div", {}, dom.make("div", { class: "controls" }, x.label, y.label, colour.label), stage);
    /** @type {Run[]} */
    let list = [];
    /** @type {{ run: Run, left: number, top: number }[]} */
    let points = [];
    /** @type {Run | null} */
    let over = null;

    /** @type {(column: Column, run: Run) => number} */
    function number(column, run) {
      const value = column.value(run);
      if (column.time) return Date.parse(String(value));
      return typeof value === "number" ? value : column.key === "version" ? Number(value ?? NaN) : NaN;
    }

    /** @type {(wanted: Run[]) => void} */
    function set(wanted) {
      list = wanted;
      const possible = runs
        .columns()
        .filter((column) => list.filter((run) => Number.isFinite(number(column, run))).length > 1);
      const metrics = possible.filter((column) => column.kind === "metric");
      const parameters = columns.telling(
        possible.filter((column) => column.kind === "parameter" && (column.distinct?.size ?? 0) > 1),
      );
      const started = possible.find((column) => column.key === "started");
      /** @type {(select: HTMLSelectElement, usual: Column | undefined, none?: string) => void} */
      const fill = (select, usual, none) => {
        const chosen = select.dataset.chosen;
        dom.fill(
          select,
          none && dom.make("option", { value: "" }, none),
          possible.map((column) => dom.make("option", { value: column.key }, column.key)),
        );
        select.value =
          chosen !== undefined && (chosen === "" || possible.some((column) => column.key === chosen))
            ? chosen
            : (usual?.key ?? "");
      };
      fill(x.input, parameters[0] ?? started ?? possible[0]);
      fill(y.input, metrics[0] ?? possible[1]);
      fill(colour.input, metrics[1], "none");
      element.hidden = possible.length < 2;
      draw();
    }

    /** @type {(column: Column | undefined) => { part: (run: Run) => number, ticks: { share: number, text: string }[], low: number, high: number } | null} */
    function scaleOf(column) {
      if (!column) return null;
      const values = list.map((run) => number(column, run)).filter(Number.isFinite);
      if (!values.length) return null;
      const low = values.reduce((one, other) => Math.min(one, other));
      const high = values.reduce((one, other) => Math.max(one, other));
      const logarithmic = !column.time && low > 0 && high / low >= 100;
      /** @type {(value: number) => number} */
      const scale = logarithmic ? Math.log10 : (value) => value;
      const span = scale(high) - scale(low) || 1;
      /** @type {(value: number) => number} */
      const share = (value) => (high === low ? 0.5 : (scale(value) - scale(low)) / span);
      const shown = Array.from({ length: 5 }, (_, place) =>
        logarithmic ? 10 ** (scale(low) + (place / 4) * span) : low + (place / 4) * (high - low),
      );
      /** @type {(value: number) => string} */
      const text = (value) =>
        column.time ? format.time(new Date(value).toISOString()).slice(5) : format.number(Number(value.toPrecision(3)));
      return {
        part: (run) => share(number(column, run)),
        ticks: shown.map((value) => ({ share: share(value), text: text(value) })),
        low,
        high,
      };
    }

    function draw() {
      const context = canvas.getContext("2d");
      const width = stage.clientWidth;
      if (!context || !width || element.hidden) return;
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(HEIGHT * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const [across, up] = [scaleOf(runs.byKey(x.input.value)), scaleOf(runs.byKey(y.input.value))];
      const painted = colour.input.value ? scaleOf(runs.byKey(colour.input.value)) : null;
      if (!across || !up) return;
      /** @type {(share: number) => number} */
      const leftOf = (share) => EDGE.left + 10 + share * (width - EDGE.left - EDGE.right - 20);
      /** @type {(share: number) => number} */
      const topOf = (share) => HEIGHT - EDGE.bottom - 8 - share * (HEIGHT - EDGE.top - EDGE.bottom - 16);
      context.font = "11px system-ui, sans-serif";
      context.lineWidth = 1;
      for (const tick of up.ticks) {
        context.strokeStyle = theme.colour("line");
        context.beginPath();
        context.moveTo(EDGE.left, topOf(tick.share));
        context.lineTo(width - EDGE.right, topOf(tick.share));
        context.stroke();
        context.fillStyle = theme.colour("dim");
        context.textAlign = "right";
        context.fillText(tick.text, EDGE.left - 8, topOf(tick.share) + 4);
      }
      across.ticks.forEach((tick, place) => {
        context.textAlign = place === 0 ? "left" : place === across.ticks.length - 1 ? "right" : "center";
        context.fillText(tick.text, leftOf(tick.share), HEIGHT - 8);
      });
      points = [];
      for (const run of list) {
        const [left, top] = [leftOf(across.part(run)), topOf(up.part(run))];
        if (Number.isNaN(left) || Number.isNaN(top)) continue;
        points.push({ run, left, top });
        const share = painted ? painted.part(run) : NaN;
        context.fillStyle = painted
          ? Number.isNaN(share)
            ? theme.colour("line-strong")
            : theme.ramp(share)
          : theme.colour("series-0");
        context.globalAlpha = list.length > 400 ? 0.45 : 0.8;
        context.beginPath();
        context.arc(left, top, run === over ? 7 : list.length > 400 ? 3 : 4.5, 0, 2 * Math.PI);
        context.fill();
      }
      context.globalAlpha = 1;
      canvas.setAttribute(
        "aria-label",
        `${format.count(points.length, "run")}: ${y.input.value} over ${x.input.value}`,
      );
    }

    /** @type {(event: MouseEvent) => { run: Run, left: number, top: number } | null} */
    function nearest(event) {
      const box = stage.getBoundingClientRect();
      const [left, top] = [event.clientX - box.left, event.clientY - box.top];
      let best = null;
      let least = NEAR;
      for (const point of points) {
        const distance = Math.hypot(point.left - left, point.top - top);
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    }

    stage.addEventListener("pointermove", (event) => {
      const found = nearest(event);
      stage.classList.toggle("on-line", found !== null);
      if (over !== (found?.run ?? null)) {
        over = found?.run ?? null;
        draw();
      }
      told.hidden = !found;
      if (!found) return;
      const [one, other] = [runs.byKey(x.input.value), runs.byKey(y.input.value)];
      dom.setText(
        told,
        [
          found.run.name ?? found.run.id,
          one && `${one.label} ${runs.show(one, found.run)}`,
          other && `${other.label} ${runs.show(other, found.run)}`,
        ]
          .filter(Boolean)
          .join(", "),
      );
      told.style.left = `${Math.min(found.left, stage.clientWidth - 260)}px`;
      told.style.top = `${found.top + 12}px`;
    });
    stage.addEventListener("pointerleave", () => {
      over = null;
      told.hidden = true;
      draw();
    });
    stage.addEventListener("click", (event) => {
      const found = nearest(event);
      if (found) open(found.run);
    });
    const forget = theme.onChange(draw);
    const observer = new ResizeObserver(draw);
    observer.observe(stage);
    return {
      element,
      set,
      end: () => {
        forget();
        observer.disconnect();
      },
    };
  }

  return { create };
})();
