"use strict";

// A table of any length: only the rows that can be seen are in the document.
const grid = (() => {
  const ROW = 34;
  const SPARE = 8;
  const SAMPLE = 200;
  // Tells how wide a text is.
  const ruler = document.createElement("canvas").getContext("2d");
  let made = 0;

  // `on` has sort(column), open(row) and selection(); `kind` says what the rows are.
  /**
   * @template R
   * @param {{ sort: (column: Column<R>) => void, open: (row: R) => void, selection?: () => void }} on
   * @param {Kind<R>} kind
   */
  function create(on, kind) {
    const id = `grid${++made}`;
    const head = dom.make("div", { class: "grid-head", role: "row", "aria-rowindex": 1 });
    const body = dom.make("div", { class: "grid-body", role: "rowgroup" });
    const element = dom.make("div", {
      class: "grid",
      role: "grid",
      tabindex: 0,
      "aria-label": kind.label,
      "aria-multiselectable": kind.selectable ? true : null,
    });
    element.append(dom.make("div", { role: "rowgroup", class: "grid-top" }, head), body);
    // Columns beyond the right edge are told of, and brought into view.
    const more = dom.make("button", { type: "button", class: "more-columns", hidden: true });
    const frame = dom.make("div", { class: "grid-frame" }, element, more);
    more.addEventListener("click", () => element.scrollBy({ left: element.clientWidth * 0.7, behavior: "smooth" }));

    /** @type {Column<R>[]} */
    let columns = [];
    /** @type {R[]} */
    let list = [];
    /** @type {Order} */
    let sort = { key: null, descending: false };
    /** @type {Map<string, number> | null} */
    let places = new Map();
    /** @type {string | null} */
    let active = null;
    /** @type {string | null} */
    let anchor = null;
    /** @type {HTMLInputElement | null} */
    let chosenAll = null;
    /** @type {Set<string>} */
    const selected = new Set();
    /** @type {Slot<R>[]} */
    const slots = [];

    // -- what is shown --

    /** @type {(wanted: Column<R>[], order: Order) => void} */
    function setColumns(wanted, order) {
      sort = order;
      /** @type {(some: Column<R>[]) => string} */
      const signature = (some) => some.map((column) => `${column.key}:${column.numeric}`).join("\n");
      const same = signature(columns) === signature(wanted);
      columns = wanted;
      if (!same || !head.childElementCount) buildHead();
      for (const cell of head.querySelectorAll("[data-key]")) {
        const mine = cell.getAttribute("data-key") === sort.key;
        cell.setAttribute("aria-sort", mine ? (sort.descending ? "descending" : "ascending") : "none");
      }
    }

    function buildHead() {
      const box = dom.make("input", {
        type: "checkbox",
        "aria-label": `Select all ${kind.label.toLowerCase()} shown`,
        tabindex: -1,
      });
      box.addEventListener("change", () => selectAll(box.checked));
      chosenAll = box;
      const cells = columns.map((column) => {
        const button = dom.make(
          "button",
          { type: "button", title: column.kind === "field" ? `Sort by ${column.label}` : `Sort by ${column.key}` },
          column.label,
        );
        button.addEventListener("click", () => on.sort(column));
        const look = `cell kind-${column.kind}${column.numeric ? " number" : ""}${column.key === kind.pinned ? " pinned run" : ""}`;
        return dom.make("div", { class: look, role: "columnheader", "data-key": column.key }, button);
      });
      const select = kind.selectable
        ? dom.make("div", { class: "cell pinned select", role: "columnheader" }, chosenAll)
        : null;
      dom.fill(head, select, cells);
      element.classList.toggle("unselectable", !kind.selectable);
      element.setAttribute("aria-colcount", String(columns.length + (kind.selectable ? 1 : 0)));
      slots.length = 0;
      body.replaceChildren();
    }

    // Over all runs, not those shown: columns must not jump while somebody types a filter.
    function measure() {
      const all = kind.all();
      const { fontFamily, fontSize } = getComputedStyle(element);
      // The usual width of a letter, which grows with the page's font.
      const letter = 0.57 * parseFloat(fontSize);
      if (ruler) ruler.font = `${fontSize} ${fontFamily}`;
      /** @type {(column: Column<R>, number: number) => string} */
      const wide = (column, number) => {
        let longest = `${column.label}  `;
        const step = Math.max(1, Math.floor(all.length / SAMPLE));
        for (let place = 0; place < all.length; place += place < SAMPLE ? 1 : step) {
          const text = show(column, all[place]);
          if (text.length > longest.length) longest = text;
        }
        if (column.key === kind.pinned) return kind.width ?? "var(--run-width)";
        const mark = column.key === "status" ? 16 : 0;
        const text = Math.max(longest.length * letter, ruler?.measureText(longest).width ?? 0);
        const width = `${Math.round(Math.min(240, Math.max(64, text + 26 + mark)))}px`;
        // What is written in the last column may take the room that is left.
        return number === columns.length - 1 && !column.numeric ? `minmax(${width}, 1fr)` : width;
      };
      element.style.setProperty("--columns", [...(kind.selectable ? ["40px"] : []), ...columns.map(wide)].join(" "));
    }

    // Show these runs, in this order.
    /** @type {(wanted: R[]) => void} */
    function setRuns(wanted) {
      list = wanted;
      places = null;
      if (active !== null && placeOf(active) === undefined) active = null;
      measure();
      body.style.height = `${list.length * ROW}px`;
      element.setAttribute("aria-rowcount", String(list.length + 1));
      for (const slot of slots) slot.run = null;
      draw();
    }

    /** @type {(key: string) => number | undefined} */
    function placeOf(key) {
      places ??= new Map(list.map((run, place) => [kind.key(run), place]));
      return places.get(key);
    }

    // -- drawing --

    /** @type {() => Slot<R>} */
    function newRow() {
      const box = dom.make("input", { type: "checkbox", tabindex: -1 });
      const cells = columns.map((column) => {
        const look = `cell${column.numeric ? " number" : ""}${column.mono ? " mono" : ""}`;
        if (column.key === kind.pinned)
          return dom.make("div", { class: "cell pinned run", role: "rowheader" }, dom.make("a", { tabindex: -1 }));
        if (column.key === "status") return dom.make("div", { class: look, role: "gridcell" }, dom.make("span"));
        return dom.make("div", { class: look, role: "gridcell" });
      });
      const row = dom.make(
        "div",
        { class: "grid-row", role: "row" },
        kind.selectable ? dom.make("div", { class: "cell pinned select", role: "gridcell" }, box) : null,
        cells,
      );
      /** @type {Slot<R>} */
      const slot = { row, box, cells, run: null, place: -1, used: false };
      row.addEventListener("click", (event) => clicked(slot, event));
      body.append(row);
      return slot;
    }

    /** @type {(slot: Slot<R>, run: R, place: number) => void} */
    function fillRow(slot, run, place) {
      const key = kind.key(run);
      if (slot.place !== place) {
        slot.place = place;
        slot.row.style.transform = `translateY(${place * ROW}px)`;
        slot.row.setAttribute("aria-rowindex", String(place + 2));
        slot.row.id = `${id}-${place}`;
      }
      if (slot.run !== run || kind.lives(run)) {
        slot.run = run;
        slot.box.setAttribute("aria-label", `Select ${kind.noun} ${kind.name(run)}`);
        columns.forEach((column, index) => fillCell(slot.cells[index], column, run));
      }
      const chosen = selected.has(key);
      slot.box.checked = chosen;
      slot.row.setAttribute("aria-selected", String(chosen));
      slot.row.classList.toggle("active", key === active);
    }

    /** @type {(cell: HTMLElement, column: Column<R>, run: R) => void} */
    function fillCell(cell, column, run) {
      const text = show(column, run);
      cell.classList.toggle("best", column.best !== undefined && column.best === column.value(run));
      if (column.key === kind.pinned) {
        const link = cell.querySelector("a");
        if (!link) return;
        dom.setText(link, text);
        link.href = kind.address(run);
        if (text.length > 28) link.title = text;
        return;
      }
      if (column.key === "status") {
        cell.replaceChildren(dom.status(text));
        return;
      }
      dom.setText(cell, text);
      const full = format.whole(column.value(run));
      if (column.key !== "took" && full !== text) cell.title = full;
      else if (text.length > 28) cell.title = text;
      else cell.removeAttribute("title");
    }

    function draw() {
      const first = Math.max(0, Math.floor(element.scrollTop / ROW) - SPARE);
      const last = Math.min(list.length, Math.ceil((element.scrollTop + element.clientHeight) / ROW) + SPARE);
      const needed = Math.max(0, last - first);
      while (slots.length < needed) slots.push(newRow());
      for (const slot of slots) slot.used = false;
      for (let place = first; place < last; place++) {
        const slot = slots[place % slots.length];
        slot.used = true;
        slot.row.hidden = false;
        fillRow(slot, list[place], place);
      }
      for (const slot of slots) {
        if (slot.used) continue;
        slot.row.hidden = true;
        slot.place = -1;
        slot.row.removeAttribute("id");
      }
      const place = active === null ? undefined : placeOf(active);
      if (place !== undefined && place >= first && place < last)
        element.setAttribute("aria-activedescendant", `${id}-${place}`);
      else element.removeAttribute("aria-activedescendant");
      const beyond = columns.filter((_, index) => {
        const cell = head.children[index + (kind.selectable ? 1 : 0)];
        return (
          cell instanceof HTMLElement &&
          cell.offsetLeft + cell.offsetWidth - 12 > element.scrollLeft + element.clientWidth
        );
      }).length;
      more.hidden = beyond === 0;
      frame.classList.toggle("has-more", beyond > 0);
      dom.setText(more, `${format.count(beyond, "more column")} \u2192`);
      if (chosenAll) {
        const amount =
          list.length && list.every((run) => selected.has(kind.key(run))) ? "all" : selected.size ? "some" : "none";
        chosenAll.checked = amount === "all";
        chosenAll.indeterminate = amount === "some";
      }
    }

    let drawing = 0;
    function drawSoon() {
      drawing ||= requestAnimationFrame(() => {
        drawing = 0;
        draw();
      });
    }

    // -- moving and choosing --

    /** @type {(place: number) => void} */
    function move(place) {
      if (!list.length) return;
      const bounded = Math.min(list.length - 1, Math.max(0, place));
      active = kind.key(list[bounded]);
      const top = bounded * ROW;
      const room = element.clientHeight - head.offsetHeight;
      if (top < element.scrollTop) element.scrollTop = top;
      else if (top + ROW > element.scrollTop + room) element.scrollTop = top + ROW - room;
      draw();
    }

    /** @type {(key: string, wanted: boolean) => void} */
    function select(key, wanted) {
      if (wanted) selected.add(key);
      else selected.delete(key);
    }

    /** @type {(wanted: boolean) => void} */
    function selectAll(wanted) {
      for (const run of list) select(kind.key(run), wanted);
      draw();
      on.selection?.();
    }

    /** @type {(from: number, to: number, wanted: boolean) => void} */
    function selectRange(from, to, wanted) {
      for (let place = Math.min(from, to); place <= Math.max(from, to); place++) select(kind.key(list[place]), wanted);
      on.selection?.();
    }

    /** @type {(slot: Slot<R>, event: MouseEvent) => void} */
    function clicked(slot, event) {
      if (!slot.run || !(event.target instanceof Element) || event.target.closest("a")) return;
      const key = kind.key(slot.run);
      if (event.target.closest(".select")) {
        const wanted = event.target === slot.box ? slot.box.checked : !selected.has(key);
        const from = event.shiftKey && anchor !== null ? placeOf(anchor) : slot.place;
        selectRange(from ?? slot.place, slot.place, wanted);
        anchor = key;
        active = key;
        draw();
        return;
      }
      if (getSelection()?.toString()) return;
      on.open(slot.run);
    }

    element.addEventListener("keydown", (event) => {
      if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
      const place = active === null ? -1 : (placeOf(active) ?? -1);
      const page = Math.max(1, Math.floor(element.clientHeight / ROW) - 2);
      /** @type {Record<string, number>} */
      const goals = {
        ArrowDown: place + 1,
        ArrowUp: place < 0 ? 0 : place - 1,
        j: place + 1,
        k: place < 0 ? 0 : place - 1,
        PageDown: place + page,
        PageUp: place - page,
        Home: 0,
        End: list.length - 1,
      };
      if (event.key in goals) {
        move(goals[event.key]);
        const now = active === null ? undefined : placeOf(active);
        if (event.shiftKey && kind.selectable && place >= 0 && now !== undefined) selectRange(place, now, true);
        draw();
      } else if (event.key === "Enter" && place >= 0) on.open(list[place]);
      else if (event.key === " " && kind.selectable && active !== null && place >= 0) {
        selectRange(place, place, !selected.has(active));
        anchor = active;
        draw();
      } else return;
      event.preventDefault();
    });
    element.addEventListener("scroll", drawSoon, { passive: true });
    new ResizeObserver(drawSoon).observe(element);

    /** @type {(column: Column<R>, row: R) => string} */
    function show(column, row) {
      return column.show ? column.show(row) : format.short(column.value(row));
    }

    return {
      element: frame,
      grid: element,
      setColumns,
      setRuns,
      selectAll,
      draw,
      selected,
      get active() {
        return active;
      },
      focus: () => element.focus({ preventScroll: true }),
      /** @type {(key: string) => void} */
      moveTo(key) {
        const place = placeOf(key);
        if (place !== undefined) move(place);
      },
      get scroll() {
        return { top: element.scrollTop, left: element.scrollLeft };
      },
      set scroll(place) {
        element.scrollTop = place.top;
        element.scrollLeft = place.left;
        draw();
      },
    };
  }

  /** @type {(run: { model: string, id: string }) => string} */
  const address = (run) => `#/run/${encodeURIComponent(run.model)}/${encodeURIComponent(run.id)}`;

  return { create, address };
})();
