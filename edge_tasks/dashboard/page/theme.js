"use strict";

// Light, dark, or as the system has it. Loaded before the page is drawn, so that it never flashes.
const theme = (() => {
  /** @type {readonly string[]} */
  const CHOICES = ["system", "light", "dark"];
  /** @type {(() => void)[]} */
  const listeners = [];
  /** @type {Map<string, string>} */
  const colours = new Map();

  const kept = {
    // Reading storage throws where the browser forbids it; then a choice lasts as long as the page.
    /** @type {(key: string) => string | null} */
    get(key) {
      try {
        return localStorage.getItem(`edge.${key}`);
      } catch {
        return null;
      }
    },
    /** @type {(key: string, value: string) => void} */
    set(key, value) {
      try {
        localStorage.setItem(`edge.${key}`, value);
      } catch {
        // see above
      }
    },
  };

  const before = kept.get("theme") ?? "";
  let choice = CHOICES.includes(before) ? before : "system";

  function apply() {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    colours.clear();
    for (const listener of listeners) listener();
  }

  function next() {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    kept.set("theme", choice);
    apply();
  }

  // What is drawn on a canvas needs the style sheet's colours as values, so an element is asked what it was given.
  /** @type {(name: string) => string} */
  function colour(name) {
    const known = colours.get(name);
    if (known !== undefined) return known;
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    colours.set(name, found);
    return found;
  }

  const SERIES = 10;
  /** @type {(index: number) => string} */
  const series = (index) => colour(`series-${index % SERIES}`);
  // The second ten runs have the colours of the first ten.
  /** @type {(index: number) => boolean} */
  const isDashed = (index) => index >= SERIES;

  // From blue by way of green to yellow, as even to the eye as it can be; also for the colour-blind.
  const SHADES = 48;
  /** @type {(share: number) => string} */
  function ramp(share) {
    const even = Math.round(share * SHADES) / SHADES;
    const light = dark() ? 58 + 26 * even : 38 + 26 * even;
    return `oklch(${light}% 0.13 ${265 - 175 * even})`;
  }

  const dark = () => (choice === "system" ? system.matches : choice === "dark");
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", apply);
  apply();

  // An axis of a chart in the colours of now.
  const axis = () => ({
    stroke: colour("dim"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  });

  return {
    kept,
    next,
    axis,
    colour,
    series,
    ramp,
    isDashed,
    get choice() {
      return choice;
    },
    get dark() {
      return dark();
    },
    // Returns a function that ends it.
    /** @type {(listener: () => void) => Forget} */
    onChange(listener) {
      listeners.push(listener);
      return () => listeners.splice(listeners.indexOf(listener), 1);
    },
  };
})();
