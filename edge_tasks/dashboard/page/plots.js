"use strict";

// The plots that a training saved: tables are drawn as a confusion matrix or as curves, images are shown.
const plots = (() => {
  const HEIGHT = 240;
  const MOST_CLASSES = 40;
  const MOST_LINES = 10;
  const MOST_ROWS = 200;

  /** @typedef {Record<string, string>} Row */

  // A CSV as RFC 4180 has it.
  /** @type {(text: string) => Row[]} */
  function parse(text) {
    /** @type {string[][]} */
    const rows = [[]];
    for (const match of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,"\r\n]*))(,|\r?\n|$)/g)) {
      if (match[0] === "" && match.index === text.length) break;
      rows[rows.length - 1].push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'));
      if (match[3] !== ",") rows.push([]);
    }
    const [head = [], ...rest] = rows.filter((row) => row.length > 1 || row[0]);
    return rest.map((row) => Object.fromEntries(head.map((name, place) => [name, row[place] ?? ""])));
  }

  /** @type {(text: string) => Row[] | null} */
  function fromJson(text) {
    try {
      const found = JSON.parse(text);
      if (!Array.isArray(found) || !found.length || typeof found[0] !== "object") return null;
      return found.map((row) =>
        Object.fromEntries(Object.entries(row).map(([name, value]) => [name, format.whole(value)])),
      );
    } catch {
      return null;
    }
  }

  const isNumber = (/** @type {string} */ text) => text !== "" && Number.isFinite(Number(text));

  /** @type {(rows: Row[]) => [string, string] | null} */
  function confusion(rows) {
    const names = Object.keys(rows[0] ?? {});
    const actual = names.find((name) => /actual|true|target|label/i.test(name));
    const predicted = names.find((name) => /predict/i.test(name) && name !== actual);
    if (!actual || !predicted || names.length > 3) return null;
    const classes = new Set(rows.flatMap((row) => [row[actual], row[predicted]]));
    return classes.size <= MOST_CLASSES ? [actual, predicted] : null;
  }

  /** @type {(rows: Row[], actual: string, predicted: string) => HTMLElement} */
  function matrix(rows, actual, predicted) {
    const names = [...new Set(rows.flatMap((row) => [row[actual], row[predicted]]))];
    names.sort((one, other) => (isNumber(one) && isNumber(other) ? Number(one) - Number(other) : one < other ? -1 : 1));
    /** @type {Map<string, number>} */
    const counts = new Map();
    const weight = Object.keys(rows[0]).find(
      (name) => name !== actual && name !== predicted && rows.every((row) => isNumber(row[name])),
    );
    for (const row of rows) {
      const key = JSON.stringify([row[actual], row[predicted]]);
      counts.set(key, (counts.get(key) ?? 0) + (weight ? Number(row[weight]) : 1));
    }
    /** @type {(one: string, other: string) => number} */
    const count = (one, other) => counts.get(JSON.stringify([one, other])) ?? 0;
    const sums = new Map(names.map((one) => [one, names.reduce((sum, other) => sum + count(one, other), 0) || 1]));
    return dom.make(
      "div",
      { class: "wide", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
      dom.make(
        "table",
        { class: "matrix" },
        dom.make("caption", {}, `rows: ${actual}, columns: ${predicted}`),
        dom.make(
          "thead",
          {},
          dom.make(
            "tr",
            {},
            dom.make("td", {}),
            names.map((name) => dom.make("th", { scope: "col" }, name)),
          ),
        ),
        dom.make(
          "tbody",
          {},
          names.map((one) =>
            dom.make(
              "tr",
              {},
              dom.make("th", { scope: "row" }, one),
              names.map((other) => {
                const value = count(one, other);
                const share = value / (sums.get(one) ?? 1);
                const cell = dom.make(
                  "td",
                  {
                    title: `${one} taken for ${other}: ${value}, ${marks.percent(share)} of ${one}`,
                  },
                  value ? format.number(value) : "\u00b7",
                );
                cell.style.setProperty("--share", `${Math.round(42 * share)}%`);
                return cell;
              }),
            ),
          ),
        ),
      ),
    );
  }

  /** @type {(rows: Row[]) => { x: string, lines: { label: string, points: [number, number][] }[] } | null} */
  function curvesOf(rows) {
    const names = Object.keys(rows[0] ?? {});
    const numeric = names.filter(
      (name) => rows.every((row) => row[name] === "" || isNumber(row[name])) && rows.some((row) => isNumber(row[name])),
    );
    if (numeric.length < 2) return null;
    const [x, ...rest] = numeric;
    const group = names.find(
      (name) => !numeric.includes(name) && new Set(rows.map((row) => row[name])).size <= MOST_LINES,
    );
    const lines = rest.slice(0, MOST_LINES).flatMap((y) => {
      const groups = group ? [...new Set(rows.map((row) => row[group]))] : [""];
      return groups.map((value) => ({
        label: [value, rest.length > 1 || !group ? y : ""].filter(Boolean).join(" "),
        points: /** @type {[number, number][]} */ (
          rows
            .filter((row) => (!group || row[group] === value) && isNumber(row[x]) && isNumber(row[y]))
            .map((row) => [Number(row[x]), Number(row[y])])
        ),
      }));
    });
    return { x, lines: lines.slice(0, MOST_LINES) };
  }

  /** @type {(name: string, rows: Row[]) => { element: HTMLElement, end: Forget }} */
  function drawing(name, rows) {
    const pair = confusion(rows);
    if (pair) return { element: matrix(rows, ...pair), end: () => {} };
    const found = curvesOf(rows);
    return found ? chart(name, found) : { element: table(rows), end: () => {} };
  }

  /** @type {(name: string, found: NonNullable<ReturnType<typeof curvesOf>>) => { element: HTMLElement, end: Forget }} */
  function chart(name, { x, lines }) {
    const holder = dom.make("div", {
      class: "plot",
      role: "img",
      "aria-label": `${name}: ${lines.map((line) => line.label).join(", ")} over ${x}`,
    });
    const legend = dom.make(
      "p",
      { class: "plot-legend" },
      dom.make("span", { class: "dim" }, `over ${x}`),
      lines.map((line, index) => {
        const mark = dom.make("span", { class: "swatch" });
        mark.style.color = theme.series(index);
        return dom.make("span", {}, mark, " ", line.label);
      }),
    );
    /** @type {uPlot | null} */
    let plot = null;
    function draw() {
      plot?.destroy();
      const width = holder.clientWidth;
      if (!width) return;
      const tables = lines.map(({ points }) => {
        // A curve may go back over an x, as a ROC curve does: the last value counts, the line is drawn in order.
        const rising = [...new Map([...points].sort(([one], [other]) => one - other))];
        return /** @type {uPlot.AlignedData} */ ([rising.map(([one]) => one), rising.map(([, one]) => one)]);
      });
      const axis = theme.axis();
      plot = new uPlot(
        {
          width,
          height: HEIGHT,
          legend: { show: false },
          padding: [8, 12, 0, 0],
          scales: { x: { time: false } },
          axes: [
            { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => format.number(tick)) },
            { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => format.number(tick)) },
          ],
          series: [
            {},
            ...lines.map((line, index) => ({
              label: line.label,
              stroke: theme.series(index),
              width: 1.6,
              spanGaps: true,
              points: { show: false },
            })),
          ],
        },
        tables.length === 1 ? tables[0] : uPlot.join(tables),
        holder,
      );
    }
    const observer = new ResizeObserver(draw);
    observer.observe(holder);
    const forget = theme.onChange(draw);
    return {
      element: dom.make("div", {}, holder, legend),
      end: () => {
        observer.disconnect();
        forget();
        plot?.destroy();
      },
    };
  }

  /** @type {(rows: Row[]) => HTMLElement} */
  function table(rows) {
    const names = Object.keys(rows[0] ?? {});
    return dom.make(
      "div",
      { class: "wide short", tabindex: 0, role: "region", "aria-label": "Table" },
      dom.table(
        names,
        rows.slice(0, MOST_ROWS).map((row) => names.map((name) => row[name])),
      ),
      rows.length > MOST_ROWS &&
        dom.make("p", { class: "dim" }, `The first ${MOST_ROWS} of ${rows.length.toLocaleString("en")} rows.`),
    );
  }

  // The plots of a run, fetched when the page is told which there are.
  /** @type {(key: string) => { element: HTMLElement, set: (details: Details) => void, end: Forget }} */
  function view(key) {
    const element = dom.make("div", { class: "curves plots" });
    /** @type {Forget[]} */
    const ends = [];
    let shown = "";

    /** @type {(details: Details) => void} */
    function set(details) {
      const images = details.attachments.filter(({ name }) => /\.(png|jpe?g|gif|webp|svg)$/i.test(name));
      const signature = JSON.stringify([details.plots, images]);
      const run = runs.get(key);
      if (signature === shown || !run) return;
      shown = signature;
      for (const end of ends.splice(0)) end();
      dom.fill(element);
      for (const [kind, files] of Object.entries({ plots: details.plots, attachments: images })) {
        for (const { name } of files) add(run, kind, name);
      }
    }

    /** @type {(run: Run, kind: string, name: string) => Promise<void>} */
    async function add(run, kind, name) {
      const body = dom.make("div", {}, dom.make("p", { class: "dim" }, "\u2026"));
      const href = source.download(run, `${kind}/${name}`);
      element.append(
        dom.make(
          "figure",
          { class: "card" },
          dom.make(
            "figcaption",
            {},
            dom.make("span", { class: "name", title: name }, name),
            href && dom.make("a", { href, download: name, class: "readout" }, "save"),
          ),
          body,
        ),
      );
      try {
        const found = await source.attached(run, kind, name);
        if (found.base64 !== undefined) {
          dom.fill(
            body,
            dom.make("img", { src: `data:${found.type};base64,${found.base64}`, alt: name, class: "picture" }),
          );
          return;
        }
        const text = found.text ?? "";
        const rows = /\.json$/i.test(name) ? fromJson(text) : parse(text);
        if (!rows?.length) {
          dom.fill(body, dom.make("pre", { class: "code", tabindex: 0 }, text.slice(0, 20000)));
          return;
        }
        const { element: drawn, end } = drawing(name, rows);
        dom.fill(body, drawn);
        ends.push(end);
      } catch (error) {
        dom.fill(body, dom.make("p", { class: "dim" }, `It cannot be read: ${dom.message(error)}`));
      }
    }

    return { element, set, end: () => ends.forEach((end) => end()) };
  }

  return { view };
})();
