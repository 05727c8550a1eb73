"use strict";

// Building elements. Text is only ever set as text: nothing that a run recorded is read as HTML.
const dom = (() => {
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    add(element, children);
    return element;
  }

  function add(element, children) {
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined && child !== false) element.append(child);
    }
  }

  function fill(element, ...children) {
    element.replaceChildren();
    add(element, children);
    return element;
  }

  // Replace text only where it differs: a selection in it and the layout stay.
  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function status(name) {
    return make("span", { class: `status status-${/^[a-z]+$/.test(name) ? name : "unknown"}` }, name);
  }

  function section(title, ...children) {
    const id = `section-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
    return make("section", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
  }

  function copyButton(text, what) {
    const button = make(
      "button",
      { type: "button", class: "copy", title: `Copy ${what}`, "aria-label": `Copy ${what}` },
      "copy",
    );
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "copied";
      } catch {
        button.textContent = "not allowed";
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
    return button;
  }

  function command(text) {
    return make("div", { class: "command" }, make("code", {}, text), copyButton(text, "the command"));
  }

  function empty(title, ...lines) {
    return make("div", { class: "empty" }, make("h2", {}, title), ...lines);
  }

  return { make, fill, setText, status, section, copyButton, command, empty };
})();
