"use strict";

// A page that is a table with a field to search in: jobs, versions, data.
const listing = (() => {
  // `open` is called with a row; `columns` and the rows of `kind.all()` may change before each refresh.
  /**
   * @template R
   * @param {Wanted<R>} wanted
   */
  function create(wanted) {
    const { kind } = wanted;
    const settings = { key: wanted.sort, descending: wanted.descending ?? true };
    const search = dom.make("input", {
      type: "search",
      placeholder: wanted.placeholder,
      "aria-label": wanted.placeholder,
      autocomplete: "off",
      spellcheck: "false",
    });
    const count = dom.make("span", { class: "dim", role: "status" });
    const chosen = dom.make("div", { class: "selection", role: "region", "aria-label": "Selected" });
    const table = grid.create(
      {
        sort(column) {
          if (settings.key === column.key) settings.descending = !settings.descending;
          else Object.assign(settings, { key: column.key, descending: column.numeric || column.time === true });
          refresh();
        },
        open: wanted.open,
        selection: showSelection,
      },
      kind,
    );
    const bar = dom.make(
      "div",
      { class: "toolbar" },
      search,
      count,
      dom.make("span", { class: "space" }),
      wanted.tools,
    );
    const element = dom.make("div", { class: "listing" }, bar, table.element, chosen);

    /** @type {(column: Column<R>, row: R) => string} */
    const shown = (column, row) => (column.show ? column.show(row) : format.plain(column.value(row)));

    function refresh() {
      const columns = wanted.columns();
      const all = kind.all();
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = all.filter((row) => {
        if (!words.length) return true;
        const text = columns
          .map((column) => shown(column, row))
          .join("\n")
          .toLowerCase();
        return words.every((word) => text.includes(word));
      });
      const sort = columns.find((column) => column.key === settings.key) ?? columns[0];
      table.setColumns(columns, { key: sort.key, descending: settings.descending });
      table.setRuns(query.sorted(rows, sort, settings.descending, kind.key));
      const noun = format.count(rows.length, kind.noun);
      dom.setText(count, rows.length === all.length ? noun : `${noun} of ${all.length.toLocaleString("en")}`);
      showSelection();
    }

    function showSelection() {
      const rows = wanted.selection ? kind.all().filter((row) => table.selected.has(kind.key(row))) : [];
      chosen.hidden = rows.length === 0;
      dom.fill(chosen, rows.length > 0 && wanted.selection?.(rows));
    }

    search.addEventListener("input", refresh);
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "ArrowDown") return;
      event.preventDefault();
      table.focus();
    });

    return { element, refresh, table, search };
  }

  // A column by its name and its values; `Field` in page.d.ts is its type for one kind of rows.
  /** @type {Field<any>} */
  const field = (key, value, more) => ({ kind: "field", name: key, key, label: key, numeric: false, value, ...more });

  // A page that is such a table, with `nothing()` in its place while there are no rows; returns what shows it again.
  /**
   * @template R
   * @param {HTMLElement} main
   * @param {Wanted<R> & { nothing: () => Child }} wanted
   * @returns {() => void}
   */
  function page(main, wanted) {
    const { kind } = wanted;
    main.className = "list";
    document.title = kind.label;
    const nothing = dom.make("div", {});
    const table = create(wanted);
    dom.fill(main, dom.make("h1", { class: "visually-hidden" }, kind.label), nothing, table.element);
    function refresh() {
      dom.fill(nothing, wanted.nothing());
      table.element.hidden = !kind.all().length;
      if (!table.element.hidden) table.refresh();
    }
    refresh();
    keys.set([{ key: "/", does: "search", run: () => table.search.select() }]);
    return refresh;
  }

  return { create, field, page };
})();
