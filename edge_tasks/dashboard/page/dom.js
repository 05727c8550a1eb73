"use strict";

// Building elements. Text is only ever set as text: nothing that a run recorded is read as HTML.
const dom = (() => {
  /**
   * @template {keyof HTMLElementTagNameMap} Tag
   * @param {Tag} tag
   * @param {Attributes} attributes
   * @param {Child[]} children
   */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      element.setAttribute(name, value === true ? "" : String(value));
    }
    add(element, children);
    return element;
  }

  /** @type {(element: Element, children: Child[]) => void} */
  function add(element, children) {
    for (const child of children) {
      if (Array.isArray(child)) add(element, child);
      else if (child !== null && child !== undefined && typeof child !== "boolean")
        element.append(child instanceof Node ? child : String(child));
    }
  }

  /**
   * @template {Element} E
   * @param {E} element
   * @param {Child[]} children
   */
  function fill(element, ...children) {
    element.replaceChildren();
    add(element, children);
    return element;
  }

  // Replace text only where it differs: a selection in it and the layout stay.
  /** @type {(element: Element, text: string) => void} */
  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  /** @type {(name: string) => HTMLElement} */
  function status(name) {
    return make("span", { class: `status status-${/^[a-z]+$/.test(name) ? name : "unknown"}` }, name);
  }

  /** @type {(title: string, ...children: Child[]) => HTMLElement} */
  function section(title, ...children) {
    const id = `section-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
    return make("section", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
  }

  /** @type {(text: string | (() => string), what: string) => HTMLElement} */
  function copyButton(text, what) {
    const button = make(
      "button",
      { type: "button", class: "copy", title: `Copy ${what}`, "aria-label": `Copy ${what}` },
      "copy",
    );
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(typeof text === "string" ? text : text());
        button.textContent = "copied";
      } catch {
        button.textContent = "not allowed";
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
    return button;
  }

  /** @type {(text: string) => HTMLElement} */
  function command(text) {
    return make("div", { class: "command" }, make("code", {}, text), copyButton(text, "the command"));
  }

  /** @type {(title: string, ...lines: Child[]) => HTMLElement} */
  function empty(title, ...lines) {
    return make("div", { class: "empty" }, make("h2", {}, title), ...lines);
  }

  // A sentence of the server's or the command line's: what stands between backticks is code.
  /** @type {(text: string) => Child[]} */
  function sentence(text) {
    const whole = text.charAt(0).toUpperCase() + text.slice(1);
    return whole.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
  }

  // A moment, as everywhere on the page; the title tells it whole.
  /** @type {(iso: string | null | undefined) => Child} */
  const time = (iso) => (iso ? make("time", { datetime: iso, title: iso }, format.time(iso)) : null);

  // A table of names and values; what has no value is left out.
  /** @type {(pairs: [string, Child][]) => HTMLElement} */
  const pairs = (pairs) =>
    make(
      "table",
      { class: "pairs" },
      make(
        "tbody",
        {},
        pairs.map(
          ([name, value]) => value && make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)),
        ),
      ),
    );

  // A table with a head; a cell that is not one yet becomes one.
  /** @type {(heads: string[], rows: Child[][]) => HTMLElement} */
  const table = (heads, rows) =>
    make(
      "table",
      { class: "plain" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          heads.map((head) => make("th", { scope: "col" }, head)),
        ),
      ),
      make(
        "tbody",
        {},
        rows.map((cells) =>
          make(
            "tr",
            {},
            cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : make("td", {}, cell))),
          ),
        ),
      ),
    );

  /** @type {(error: unknown) => string} */
  const message = (error) => (error instanceof Error ? error.message : String(error));

  // What index.html holds.
  /** @type {(id: string) => HTMLElement} */
  function byId(id) {
    const element = document.getElementById(id);
    if (!element) throw new Error(`the page has no #${id}`);
    return element;
  }

  return {
    byId,
    make,
    add,
    fill,
    pairs,
    table,
    message,
    setText,
    status,
    section,
    copyButton,
    command,
    empty,
    sentence,
    time,
  };
})();
