"use strict";

// Small drawings in SVG: a histogram of before and now, requests over time, a share.
const marks = (() => {
  const SPACE = "http://www.w3.org/2000/svg";

  /** @type {(name: string, attributes: Record<string, string | number>, ...children: Element[]) => SVGElement} */
  function shape(name, attributes, ...children) {
    const element = /** @type {SVGElement} */ (document.createElementNS(SPACE, name));
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.append(...children);
    return element;
  }

  /** @type {(width: number, height: number, label: string) => SVGElement} */
  const sheet = (width, height, label) =>
    shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });

  /** @type {(x: number, y: number, width: number, height: number, look: string) => SVGElement} */
  const bar = (x, y, width, height, look) =>
    shape("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), class: look, rx: 1.5 });

  // Shares of each bar before and now, side by side.
  /** @type {(bars: { label: string, before: number, now: number }[], label: string) => HTMLElement} */
  function histogram(bars, label) {
    const [width, height] = [600, 110];
    const most = bars.reduce((high, one) => Math.max(high, one.before, one.now), 0) || 1;
    const step = width / Math.max(1, bars.length);
    const svg = sheet(width, height, label);
    bars.forEach((one, place) => {
      const [low, high] = [(one.before / most) * (height - 4), (one.now / most) * (height - 4)];
      svg.append(
        bar(place * step + step * 0.12, height - low, step * 0.36, low, "before"),
        bar(place * step + step * 0.52, height - high, step * 0.36, high, "now"),
      );
    });
    return dom.make(
      "div",
      { class: "histogram" },
      svg,
      dom.make(
        "div",
        { class: "bar-labels", "aria-hidden": true },
        bars.map((one) =>
          dom.make(
            "span",
            { title: `${one.label}: ${percent(one.before)} before, ${percent(one.now)} now` },
            one.label,
          ),
        ),
      ),
    );
  }

  /** @type {(share: number) => string} */
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

  // A value for each of equal steps, as bars without labels.
  /** @type {(values: number[], most: number, label: string, look?: string) => SVGElement} */
  function steps(values, most, label, look = "now") {
    const [width, height] = [values.length * 6, 36];
    const svg = sheet(width, height, label);
    values.forEach((value, place) => {
      const tall = (value / (most || 1)) * height;
      svg.append(bar(place * 6, height - tall, 4.5, tall, look));
    });
    return svg;
  }

  // Shares of a whole, in one bar.
  /** @type {(parts: { label: string, share: number, look: string }[]) => HTMLElement} */
  function shares(parts) {
    const element = dom.make("div", {
      class: "shares",
      role: "img",
      "aria-label": parts.map((part) => `${part.label}: ${part.share} %`).join(", "),
    });
    for (const part of parts) {
      const piece = dom.make("span", { class: `share ${part.look}` });
      piece.style.flexGrow = String(part.share);
      piece.hidden = part.share <= 0;
      element.append(piece);
    }
    return element;
  }

  return { shape, sheet, histogram, steps, shares, percent };
})();
