"use strict";

// Metrics over their steps, one chart for each metric, the runs laid over each other.
const curves = (() => {
  const HEIGHT = 200;

  /** @type {(value: Value) => number | null} */
  const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

  // `lines` is [{ run, label, colour index, series: {name: {steps, values, timestamps}} }].
  function create() {
    const options = { x: "step", logarithmic: false, smoothing: 0 };
    const element = dom.make("div", { class: "curves" });
    /** @type {Map<string, Chart>} */
    const charts = new Map();
    const cursors = uPlot.sync(`curves${Math.random()}`);
    /** @type {Line[]} */
    let lines = [];
    /** @type {string | null} */
    let emphasised = null;

    const observer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const chart = [...charts.values()].find((some) => some.holder === target);
        if (chart?.plot && target.clientWidth) chart.plot.setSize({ width: target.clientWidth, height: HEIGHT });
      }
    });

    const forgetTheme = theme.onChange(() => redraw());

    // A single point is not a curve: it is the metric itself, which stands in the table.
    function names() {
      /** @type {(series: Record<string, Series>) => string[]} */
      const drawn = (series) => Object.keys(series).filter((name) => series[name].values.length > 1);
      return [...new Set(lines.flatMap((line) => drawn(line.series)))].sort();
    }

    /** @type {(wanted: Line[]) => void} */
    function set(wanted) {
      lines = wanted;
      redraw();
    }

    function redraw() {
      const wanted = names();
      for (const [name, chart] of charts) {
        if (wanted.includes(name)) continue;
        chart.plot?.destroy();
        chart.card.remove();
        charts.delete(name);
      }
      for (const name of wanted) drawOne(name);
    }

    /** @type {(name: string) => Chart} */
    function cardOf(name) {
      let chart = charts.get(name);
      if (!chart) {
        const readout = dom.make("span", { class: "readout" });
        const holder = dom.make("div", { class: "plot", role: "img" });
        const card = dom.make(
          "figure",
          { class: "card" },
          dom.make("figcaption", {}, dom.make("span", { class: "name", title: name }, name), readout),
          holder,
        );
        chart = { name, card, holder, readout, plot: null, shape: null, mine: [] };
        charts.set(name, chart);
        element.append(card);
        observer.observe(holder);
      }
      return chart;
    }

    /** @type {(series: Series) => [number[], (number | null)[]]} */
    function points(series) {
      const begin = series.timestamps.length ? Date.parse(series.timestamps[0]) : NaN;
      const xs =
        options.x === "time" ? series.timestamps.map((time) => (Date.parse(time) - begin) / 1000) : series.steps;
      // uPlot wants rising numbers, each once; the last value for a step is the one that counts.
      /** @type {Map<number, number | null>} */
      const found = new Map();
      xs.forEach((x, index) => Number.isFinite(x) && found.set(x, finite(series.values[index])));
      const rising = [...found].sort(([one], [other]) => one - other);
      return [
        rising.map(([x]) => x),
        smooth(rising.map(([, y]) => (options.logarithmic && y !== null && y <= 0 ? null : y))),
      ];
    }

    // Exponential moving average without the pull towards nought at the start.
    /** @type {(values: (number | null)[]) => (number | null)[]} */
    function smooth(values) {
      const weight = options.smoothing;
      if (!weight) return values;
      let sum = 0;
      let total = 0;
      return values.map((value) => {
        if (value === null) return null;
        sum = sum * weight + (1 - weight) * value;
        total = total * weight + (1 - weight);
        return sum / total;
      });
    }

    /** @type {(name: string) => void} */
    function drawOne(name) {
      const chart = cardOf(name);
      const mine = lines.filter((line) => Object.hasOwn(line.series, name));
      const tables = mine.map((line) => points(line.series[name]));
      const data = tables.length === 1 ? tables[0] : uPlot.join(tables);
      const shape = JSON.stringify([
        options.x,
        options.logarithmic,
        theme.dark,
        mine.map((line) => [line.label, line.colour]),
      ]);
      chart.mine = mine;
      describe(chart, name, mine);
      if (chart.plot && chart.shape === shape) {
        chart.plot.setData(data);
        return;
      }
      chart.plot?.destroy();
      chart.shape = shape;
      chart.holder.replaceChildren();
      chart.plot = new uPlot(plotOptions(chart, mine), data, chart.holder);
    }

    /** @type {(chart: Chart, mine: Line[]) => uPlot.Options} */
    function plotOptions(chart, mine) {
      const axis = theme.axis();
      return {
        width: chart.holder.clientWidth || 320,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 12, 0, 0],
        cursor: {
          sync: { key: cursors.key, setSeries: false, scales: ["x", null] },
          points: { size: 7 },
          focus: { prox: 20 },
        },
        scales: { x: { time: false }, y: options.logarithmic ? { distr: 3 } : {} },
        axes: [
          {
            ...axis,
            space: 56,
            size: 28,
            values: (_, ticks) =>
              ticks.map((tick) => (options.x === "time" ? format.duration(tick) : format.number(tick))),
          },
          {
            ...axis,
            space: 32,
            size: 52,
            values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format.number(tick))),
          },
        ],
        series: [
          {},
          ...mine.map((line) => ({
            label: line.label,
            stroke: theme.series(line.colour),
            width: 1.6,
            dash: theme.isDashed(line.colour) ? [6, 4] : undefined,
            spanGaps: true,
            points: {
              show: (/** @type {uPlot} */ plot, /** @type {number} */ index) =>
                [...(plot.data[index] ?? [])].filter((y) => y !== null && y !== undefined).length < 2,
              size: 7,
            },
          })),
        ],
        hooks: { setCursor: [(plot) => readOut(chart, plot)] },
      };
    }

    /** @type {(chart: Chart, plot: uPlot) => void} */
    function readOut(chart, plot) {
      const place = plot.cursor.idx;
      if (place === null || place === undefined) {
        describe(chart, chart.name, chart.mine);
        return;
      }
      const x =
        options.x === "time" ? format.duration(plot.data[0][place]) : `step ${format.number(plot.data[0][place])}`;
      const values = chart.mine.map((line, index) => {
        const value = plot.data[index + 1][place];
        if (value === null || value === undefined) return null;
        const text = dom.make("b", {}, format.number(value));
        text.style.color = chart.mine.length > 1 ? theme.series(line.colour) : "";
        return text;
      });
      dom.fill(chart.readout, dom.make("span", {}, x), values.slice(0, 6));
    }

    /** @type {(chart: Chart, name: string, mine: Line[]) => void} */
    function describe(chart, name, mine) {
      chart.name = name;
      /** @type {(line: Line) => string} */
      const last = (line) => format.short(line.series[name].values.at(-1));
      const spoken = mine.map(
        (line) => `${line.label}: ${format.count(line.series[name].values.length, "point")}, last ${last(line)}`,
      );
      chart.holder.setAttribute("aria-label", `${name}. ${spoken.join("; ")}`);
      if (mine.length === 1) dom.fill(chart.readout, dom.make("span", {}, "last"), dom.make("b", {}, last(mine[0])));
      else dom.fill(chart.readout, dom.make("span", {}, `${mine.length} runs`));
    }

    // Let one run stand out; null: all are alike again.
    /** @type {(run: string | null) => void} */
    function emphasise(run) {
      emphasised = run;
      for (const chart of charts.values()) {
        const plot = chart.plot;
        if (!plot) continue;
        chart.mine.forEach((line, index) => {
          plot.series[index + 1].alpha = run === null || line.run === run ? 1 : 0.15;
          plot.series[index + 1].width = line.run === run ? 2.4 : 1.6;
        });
        plot.redraw(false);
      }
    }

    function controls() {
      /** @type {(label: string, values: Record<string, string>, apply: (value: string) => void) => HTMLElement} */
      const choice = (label, values, apply) => {
        const input = dom.make(
          "select",
          {},
          Object.entries(values).map(([value, text]) => dom.make("option", { value }, text)),
        );
        input.addEventListener("change", () => {
          apply(input.value);
          redraw();
        });
        return dom.make("label", {}, label, " ", input);
      };
      const smoothing = dom.make("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
      smoothing.addEventListener("input", () => {
        options.smoothing = Number(smoothing.value);
        redraw();
      });
      return dom.make(
        "div",
        { class: "controls" },
        choice("x", { step: "step", time: "time" }, (value) => (options.x = value)),
        choice(
          "y",
          { linear: "linear", logarithmic: "logarithmic" },
          (value) => (options.logarithmic = value === "logarithmic"),
        ),
        dom.make("label", {}, "smoothing ", smoothing),
        dom.make("span", { class: "dim wide-only" }, "drag to zoom, double-click for all"),
      );
    }

    function end() {
      forgetTheme();
      observer.disconnect();
      for (const chart of charts.values()) chart.plot?.destroy();
      charts.clear();
    }

    return {
      element,
      controls,
      set,
      emphasise,
      end,
      get size() {
        return charts.size;
      },
      get emphasised() {
        return emphasised;
      },
    };
  }

  return { create };
})();
