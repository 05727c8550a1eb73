"use strict";

// The jobs of the models, batch predictions among them, and one of them with its log.
const pageJobs = (() => {
  const FOLLOW = 1500;

  /** @type {() => Job[]} */
  const known = () => /** @type {Section<{ jobs: Job[] }> | undefined} */ (loop.get("jobs"))?.content?.jobs ?? [];
  /** @type {(job: Job) => string} */
  const address = (job) => `#/job/${encodeURIComponent(job.job)}`;
  /** @type {(job: { started: string | null, ended: string | null }) => number} */
  const seconds = (job) =>
    job.started ? ((job.ended ? Date.parse(job.ended) : runs.now()) - Date.parse(job.started)) / 1000 : NaN;

  /** @type {(main: HTMLElement) => Forget} */
  function show(main) {
    /** @type {Field<Job>} */
    const field = listing.field;
    const fields = [
      field("job", (job) => job.job),
      field("kind", (job) => job.kind),
      field("model", (job) => job.model),
      field("status", (job) => job.state, { label: "state" }),
      field("created", (job) => job.created, { show: (job) => format.time(job.created), time: true }),
      field("took", seconds, { show: (job) => format.duration(seconds(job)), numeric: true }),
      field("run", (job) => job.run, { mono: true }),
      field("predicted", (job) => job.batch?.successful ?? null, { numeric: true }),
      field("error", (job) => job.error),
    ];
    const refresh = listing.page(main, {
      kind: {
        label: "Jobs",
        noun: "job",
        pinned: "job",
        selectable: false,
        all: known,
        key: (job) => job.name,
        name: (job) => job.job,
        address,
        lives: (job) => job.ended === null,
      },
      columns: () => fields,
      sort: "created",
      open: (job) => (location.hash = address(job)),
      placeholder: "Find a job: running, digits, an id",
      nothing: () =>
        loop.missing("jobs", "jobs") ?? [
          loop.stale("jobs"),
          !known().length &&
            dom.empty(
              "No jobs yet",
              dom.make("p", {}, "A training as a job on Vertex AI:"),
              dom.command("invoke model.train"),
            ),
        ],
    });
    return loop.watch("jobs", refresh);
  }

  /** @type {(main: HTMLElement, id: string) => Forget} */
  function showOne(main, id) {
    main.className = "job";
    document.title = `Job ${id}`;
    const head = dom.make("header", { class: "run-head" });
    const facts = dom.make("div", {});
    const log = outputView.create();
    const problem = dom.make("p", { class: "dim" });
    dom.fill(main, head, facts, dom.section("Log", problem, log.element));
    let next = 0;
    let ended = false;
    const job = () => known().find((one) => one.job === id);

    function refresh() {
      const found = job();
      const missing = loop.missing("jobs", "job");
      dom.fill(
        head,
        dom.make("a", { class: "back", href: "#/jobs" }, "\u2190 all jobs"),
        missing ?? [
          dom.make("h1", {}, id, " ", dom.copyButton(id, "the job's id")),
          found
            ? dom.make(
                "div",
                { class: "line" },
                dom.status(found.state),
                dom.make("span", {}, dom.make("span", { class: "dim" }, "kind "), found.kind),
                dom.make(
                  "span",
                  {},
                  dom.make("span", { class: "dim" }, "model "),
                  dom.make("a", { href: pageModels.address(found.model) }, found.model),
                ),
                dom.make("span", {}, dom.make("span", { class: "dim" }, "created "), dom.time(found.created)),
                !Number.isNaN(seconds(found)) &&
                  dom.make("span", {}, dom.make("span", { class: "dim" }, "took "), format.duration(seconds(found))),
                found.run &&
                  dom.make(
                    "a",
                    { class: "mono", href: grid.address({ model: found.model, id: found.run }) },
                    found.run,
                  ),
              )
            : dom.make("p", { class: "dim" }, "There is no such job of a model of this repository."),
        ],
      );
      dom.fill(
        facts,
        found?.error &&
          dom.make(
            "section",
            { class: "failure" },
            dom.make("h2", {}, "Why it did not succeed"),
            dom.make("pre", { tabindex: 0 }, found.error),
          ),
        found?.batch &&
          dom.section(
            "Predictions",
            dom.pairs([
              ["by version", found.batch.version],
              ["predicted", found.batch.successful.toLocaleString("en")],
              ["failed", found.batch.failed.toLocaleString("en")],
              ["results", found.batch.output && dom.make("code", {}, found.batch.output)],
            ]),
          ),
      );
    }

    async function follow() {
      if (ended) return;
      let pause = FOLLOW;
      if (!source.state.live) {
        dom.setText(problem, "An export holds no logs of jobs; what a run printed is on its own page.");
        return;
      }
      try {
        const found = await source.get(`jobs/${encodeURIComponent(id)}/log?first=${next}`);
        if (ended) return;
        const text = found.lines.map((/** @type {{ text: string }} */ line) => `${line.text}\n`).join("");
        log.append(text, !found.done);
        dom.setText(
          problem,
          found.next ? "" : found.done ? "It has printed nothing." : "It has printed nothing so far.",
        );
        next = found.next;
        if (found.done && !found.lines.length) return;
      } catch (error) {
        dom.setText(problem, `The log cannot be read: ${dom.message(error)}`);
        pause *= 4;
      }
      setTimeout(follow, pause);
    }

    refresh();
    follow();
    keys.set([
      { key: "Escape", does: "go back to all jobs", run: () => (location.hash = "#/jobs") },
      { key: "f", does: "follow the log, or stop it", run: () => log.toggle() },
    ]);
    const forget = loop.watch("jobs", refresh);
    return () => {
      ended = true;
      forget();
    };
  }

  return { show, showOne, seconds };
})();
