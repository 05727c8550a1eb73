"use strict";

// Views that the team has saved: a name for an address of the table, the groups or the comparison of runs.
const views = (() => {
  /** @type {(name: string) => string} */
  const address = (name) => `#/view/${encodeURIComponent(name)}`;

  // Only what leads to one of these pages is followed, no matter who wrote it.
  /** @type {(view: SavedView) => boolean} */
  const isSound = (view) => /^#\/(groups|compare)?(\?[\w*.+%=&-]*)?$/.test(view.address);

  /** @type {() => Promise<SavedView[]>} */
  async function all() {
    const found = await source.get("views");
    return found.views.filter(isSound);
  }

  // A button that opens the list; `current` tells what would be saved.
  /** @type {(current: () => string) => HTMLElement} */
  function button(current) {
    const element = dom.make("button", { type: "button", title: "Views saved for the team" }, "Views");
    element.addEventListener("click", () => open(current()));
    return element;
  }

  /** @type {(current: string) => void} */
  function open(current) {
    const list = dom.make("div", { class: "view-list" }, dom.make("p", { class: "dim" }, "Looking for views\u2026"));
    const problem = dom.make("p", { class: "filter-problem", role: "alert" });
    const name = dom.make("input", { type: "text", maxlength: 60, autocomplete: "off", required: true });
    const save = dom.make("button", { type: "submit", class: "primary" }, "Save");
    const form = dom.make(
      "form",
      { class: "view-form" },
      dom.make("label", { class: "stacked" }, "Save what is shown as", name),
      save,
    );
    const close = dom.make("button", { type: "button" }, "Done");
    const dialog = dom.make(
      "dialog",
      { class: "columns", "aria-label": "Views" },
      dom.make("h2", {}, "Views"),
      list,
      source.allowed && form,
      problem,
      dom.make("div", { class: "buttons" }, close),
    );
    /** @type {SavedView[]} */
    let known = [];

    async function refresh() {
      try {
        known = await all();
        dom.setText(problem, "");
        dom.fill(list, known.length ? dom.make("ul", {}, known.map(item)) : nothing());
      } catch (error) {
        dom.fill(list);
        dom.setText(problem, dom.message(error));
      }
    }

    const nothing = () =>
      dom.make(
        "p",
        { class: "dim" },
        source.allowed
          ? "None is saved yet. A view keeps filter, columns, order, groups and plots for everybody."
          : "None is saved yet.",
      );

    /** @type {(view: SavedView) => HTMLElement} */
    function item(view) {
      const link = dom.make("a", { href: address(view.name) }, view.name);
      link.addEventListener("click", () => dialog.close());
      const away = dom.make(
        "button",
        { type: "button", class: "quiet", "aria-label": `Remove the view ${view.name}`, title: "Remove" },
        "\u00d7",
      );
      away.addEventListener("click", () => act(away, () => source.removeView(view.name)));
      return dom.make(
        "li",
        {},
        link,
        dom.make("span", { class: "dim" }, `${view.by}, `, dom.time(view.at), source.allowed && away),
      );
    }

    /** @type {(button: HTMLButtonElement, work: () => Promise<void>) => Promise<void>} */
    async function act(button, work) {
      button.disabled = true;
      try {
        await work();
        name.value = "";
        dom.setText(save, "Save");
        await refresh();
      } catch (error) {
        dom.setText(problem, dom.message(error));
      }
      button.disabled = false;
    }

    const wanted = () => name.value.trim().replace(/\s+/g, " ");
    const isThere = () => known.some((view) => view.name === wanted());
    name.addEventListener("input", () => dom.setText(save, isThere() ? "Replace" : "Save"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      act(save, () => source.saveView(wanted(), current, isThere()));
    });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    refresh();
  }

  // The address `#/view/NAME` leads to what the view shows now.
  /** @type {(main: HTMLElement, name: string) => Forget} */
  function follow(main, name) {
    main.className = "list";
    document.title = name;
    let ended = false;
    dom.fill(main, dom.make("h1", { class: "visually-hidden" }, name), dom.empty("Looking for the view\u2026"));
    all().then(
      (found) => {
        if (ended) return;
        const view = found.find((one) => one.name === name);
        if (view) location.replace(view.address);
        else missing("Nobody has saved it, or it was removed.");
      },
      (error) => !ended && missing(dom.message(error)),
    );

    /** @type {(why: string) => void} */
    function missing(why) {
      dom.fill(
        main,
        dom.make("h1", { class: "visually-hidden" }, name),
        dom.empty(
          `There is no view ${name}`,
          dom.make("p", {}, why),
          dom.make("a", { class: "button", href: "#/" }, "All runs"),
        ),
      );
    }
    keys.set([]);
    return () => {
      ended = true;
    };
  }

  return { address, button, follow };
})();
