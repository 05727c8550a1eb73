"use strict";

// Output that grows until its program ends. Stays at its end as long as the user does not scroll up.
const outputView = (() => {
  function create() {
    const text = dom.make("pre", { class: "output", tabindex: 0, role: "group", "aria-label": "Output" });
    const follow = dom.make("input", { type: "checkbox", checked: true });
    const amount = dom.make("span", { class: "dim" });
    const following = dom.make("label", {}, follow, " follow");
    const controls = dom.make("div", { class: "controls" }, following, amount);
    let terminal = ansi.create();
    let length = 0;

    const toEnd = () => (text.scrollTop = text.scrollHeight);
    text.addEventListener(
      "scroll",
      () => (follow.checked = text.scrollTop + text.clientHeight >= text.scrollHeight - 8),
    );
    follow.addEventListener("change", () => follow.checked && toEnd());

    /** @type {(running: boolean) => void} */
    function told(running) {
      controls.hidden = length === 0;
      text.classList.toggle("nothing", length === 0);
      if (length === 0) dom.setText(text, running ? "Nothing was printed so far." : "Nothing was printed.");
      dom.setText(amount, format.size(length));
      following.hidden = !running;
    }

    return {
      element: dom.make("div", {}, controls, text),
      get length() {
        return length;
      },
      // `piece` is { text, from, to }: what was printed between two places, counted in bytes.
      /** @type {(piece: Piece, running: boolean) => void} */
      add(piece, running) {
        const stay = follow.checked;
        if (length === 0 || piece.from !== length) {
          terminal = ansi.create();
          text.replaceChildren(piece.from > 0 ? `\u2026 the first ${format.size(piece.from)} are left out\n` : "");
        }
        dom.add(text, terminal.read(piece.text));
        length = piece.to;
        told(running);
        if (stay && running) toEnd();
      },
      // What was printed since, without places.
      /** @type {(more: string, running: boolean) => void} */
      append(more, running) {
        const stay = follow.checked;
        if (length === 0) text.replaceChildren();
        dom.add(text, terminal.read(more));
        length += more.length;
        told(running);
        if (stay && running) toEnd();
      },
      toggle() {
        follow.checked = !follow.checked;
        if (follow.checked) toEnd();
      },
    };
  }

  return { create };
})();
