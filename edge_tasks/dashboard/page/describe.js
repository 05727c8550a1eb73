"use strict";

// What people write about a run: its name, tags and notes; and taking it away.
const describe = (() => {
  /** @type {(title: string, content: Child[], act: () => Promise<void>, label: string, look?: string) => void} */
  function ask(title, content, act, label, look = "primary") {
    const problem = dom.make("p", { class: "filter-problem", role: "alert" });
    const button = dom.make("button", { type: "submit", class: look }, label);
    const cancel = dom.make("button", { type: "button" }, "Cancel");
    const form = dom.make("form", {}, content, problem, dom.make("div", { class: "buttons" }, cancel, button));
    const dialog = dom.make("dialog", { class: "columns", "aria-label": title }, dom.make("h2", {}, title), form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await act();
        dialog.close();
      } catch (error) {
        dom.setText(problem, dom.message(error));
        button.disabled = false;
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  /** @type {(run: Run, notes: string | null, done: () => void) => void} */
  function edit(run, notes, done) {
    const name = dom.make("input", { type: "text", value: run.name ?? "", maxlength: 100, autocomplete: "off" });
    const tags = dom.make("input", { type: "text", value: run.tags.join(", "), autocomplete: "off" });
    const text = dom.make("textarea", { rows: 10 }, notes ?? "");
    ask(
      `Describe ${run.id}`,
      [
        dom.make("label", { class: "stacked" }, "Name", name),
        dom.make("label", { class: "stacked" }, "Tags, with commas between them", tags),
        dom.make("label", { class: "stacked" }, "Notes", text),
      ],
      async () => {
        const words = tags.value.split(/[\s,]+/).filter(Boolean);
        await source.describe(run, { name: name.value, notes: text.value, tags: words });
        done();
      },
      "Save",
    );
  }

  /** @type {(chosen: Run[], done: () => void) => void} */
  function tag(chosen, done) {
    const tags = dom.make("input", { type: "text", autocomplete: "off" });
    ask(
      `Tag ${format.count(chosen.length, "run")}`,
      [dom.make("label", { class: "stacked" }, "Further tags, with commas between them", tags)],
      async () => {
        const words = tags.value.split(/[\s,]+/).filter(Boolean);
        for (const run of chosen)
          await source.describe(run, { tags: [...run.tags, ...words.filter((word) => !run.tags.includes(word))] });
        done();
      },
      "Tag",
    );
  }

  /** @type {(chosen: Run[], done: () => void) => void} */
  function remove(chosen, done) {
    ask(
      `Remove ${format.count(chosen.length, "run")}?`,
      [
        dom.make(
          "p",
          {},
          "Records, curves, output and source files go. Models and artifacts stay. This cannot be undone.",
        ),
        dom.make(
          "ul",
          { class: "removed" },
          chosen.slice(0, 8).map((run) => dom.make("li", {}, dom.make("code", {}, run.id), ` of ${run.model}`)),
        ),
        chosen.length > 8 && dom.make("p", { class: "dim" }, `and ${chosen.length - 8} more`),
      ],
      async () => {
        for (const run of chosen) await source.remove(run);
        done();
      },
      "Remove",
      "danger",
    );
  }

  return { edit, tag, remove };
})();
