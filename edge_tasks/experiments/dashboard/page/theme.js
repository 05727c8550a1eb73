"use strict";

// Light, dark, or as the system has it. Loaded before the page is drawn, so that it never flashes.
const theme = (() => {
  const CHOICES = ["system", "light", "dark"];
  const listeners = [];
  const colours = new Map();

  const kept = {
    // Reading storage throws where the browser forbids it; then a choice lasts as long as the page.
    get(key) {
      try {
        return localStorage.getItem(`edge.${key}`);
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        localStorage.setItem(`edge.${key}`, value);
      } catch {
        // see above
      }
    },
  };

  let choice = CHOICES.includes(kept.get("theme")) ? kept.get("theme") : "system";

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
  function colour(name) {
    if (!colours.has(name)) {
      const probe = document.createElement("span");
      probe.style.color = `var(--${name})`;
      document.body.append(probe);
      colours.set(name, getComputedStyle(probe).color);
      probe.remove();
    }
    return colours.get(name);
  }

  const SERIES = 10;
  const series = (index) => colour(`series-${index % SERIES}`);
  // The second ten runs have the colours of the first ten.
  const isDashed = (index) => index >= SERIES;

  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", apply);
  apply();

  return {
    kept,
    next,
    colour,
    series,
    isDashed,
    get choice() {
      return choice;
    },
    get dark() {
      return choice === "system" ? system.matches : choice === "dark";
    },
    // Returns a function that ends it.
    onChange(listener) {
      listeners.push(listener);
      return () => listeners.splice(listeners.indexOf(listener), 1);
    },
  };
})();
