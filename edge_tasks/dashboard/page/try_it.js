"use strict";

// A form made from a model's signature that asks its endpoint, and the same request as curl and Python.
const tryIt = (() => {
  /** @type {(name: string) => { element: HTMLElement, refresh: (serves: boolean) => void }} */
  function create(model) {
    const element = dom.make("section", { class: "try", hidden: true, "aria-labelledby": "try-title" });
    let begun = false;

    /** @type {(serves: boolean) => void} */
    function refresh(serves) {
      if (begun || !serves || !source.state.live) return;
      begun = true;
      build();
    }

    async function build() {
      /** @type {RequestForm} */
      let form;
      try {
        form = await source.get(`models/${encodeURIComponent(model)}/form`);
      } catch (error) {
        begun = false;
        dom.fill(element, dom.make("p", { class: "dim" }, dom.message(error)));
        return;
      }
      element.hidden = false;
      const fields = form.signature?.form === "table" ? (form.signature.columns ?? []) : [];
      const first = form.example[0];
      const inputs = fields.map((field) => input(field, valueIn(first, field.name, fields)));
      const body = dom.make(
        "textarea",
        { rows: 8, class: "mono", spellcheck: "false", "aria-label": "The request as JSON" },
        JSON.stringify({ instances: form.example.slice(0, 1) }, null, 1),
      );
      const asJson = dom.make("input", { type: "checkbox", checked: !inputs.length });
      const explain = dom.make("input", { type: "checkbox" });
      const button = dom.make("button", { type: "submit", class: "primary", disabled: !source.allowed }, "Ask");
      const answer = dom.make("div", { class: "answer", "aria-live": "polite" });
      const curl = dom.make("pre", { class: "code", tabindex: 0 });
      const python = dom.make("pre", { class: "code", tabindex: 0 });
      const table = dom.make(
        "div",
        { class: "fields" },
        inputs.map((one) => one.element),
      );
      const sheet = dom.make(
        "form",
        {},
        table,
        body,
        dom.make(
          "div",
          { class: "controls" },
          button,
          inputs.length > 0 && dom.make("label", {}, asJson, " as JSON"),
          dom.make("label", {}, explain, " with an explanation"),
          !source.allowed &&
            dom.make(
              "span",
              { class: "dim" },
              "To ask, open the address that invoke dashboard printed: it has the key.",
            ),
        ),
      );

      /** @type {() => string} */
      const payload = () =>
        asJson.checked
          ? body.value
          : JSON.stringify({ instances: [Object.fromEntries(inputs.flatMap((one) => one.pair()))] });

      function changed() {
        table.hidden = asJson.checked;
        body.hidden = !asJson.checked;
        dom.setText(curl, asCurl(form, payload(), explain.checked));
        dom.setText(python, asPython(form, payload(), explain.checked));
      }
      asJson.addEventListener("change", () => {
        if (asJson.checked)
          body.value = JSON.stringify(
            { instances: [Object.fromEntries(inputs.flatMap((one) => one.pair()))] },
            null,
            1,
          );
        changed();
      });
      sheet.addEventListener("input", changed);
      sheet.addEventListener("submit", async (event) => {
        event.preventDefault();
        button.disabled = true;
        dom.fill(answer, dom.make("p", { class: "dim" }, "Asking\u2026"));
        try {
          dom.fill(answer, answered(await source.predict(model, payload(), explain.checked)));
        } catch (error) {
          dom.fill(answer, dom.make("div", { class: "failure" }, dom.make("p", {}, dom.sentence(dom.message(error)))));
        }
        button.disabled = false;
      });
      dom.fill(
        element,
        dom.make("h2", { id: "try-title" }, "Try it"),
        dom.make(
          "div",
          { class: "try-columns" },
          dom.make("div", {}, sheet, answer),
          dom.make("div", {}, snippet("curl", curl), snippet("Python", python)),
        ),
      );
      changed();
      if (location.hash.endsWith("?try")) element.scrollIntoView({ block: "start" });
    }

    return { element, refresh };
  }

  /** @type {(title: string, code: HTMLElement) => HTMLElement} */
  function snippet(title, code) {
    const copy = dom.copyButton(() => code.textContent ?? "", `the request as ${title}`);
    return dom.make("div", { class: "snippet" }, dom.make("h3", {}, title, " ", copy), code);
  }

  /** @type {(example: Value, name: string, fields: SignatureColumn[]) => Value} */
  function valueIn(example, name, fields) {
    if (Array.isArray(example)) return example[fields.findIndex((field) => field.name === name)];
    if (example && typeof example === "object") return runs.own(/** @type {Record<string, Value>} */ (example), name);
    return undefined;
  }

  let made = 0;

  // A field of the form; what is empty is left out when the model can do without it.
  /** @type {(field: SignatureColumn, value: Value) => { element: HTMLElement, pair: () => [string, Value][] }} */
  function input(field, value) {
    const number = field.type === "integer" || field.type === "number";
    const list = `choices-${++made}`;
    /** @type {HTMLInputElement | HTMLSelectElement} */
    let box;
    if (field.type === "boolean") {
      const choices = field.optional ? ["", "true", "false"] : ["true", "false"];
      box = dom.make(
        "select",
        {},
        choices.map((choice) =>
          dom.make("option", { value: choice, selected: String(value) === choice }, choice || "none"),
        ),
      );
    } else {
      box = dom.make("input", {
        type: number ? "number" : "text",
        step: field.type === "integer" ? 1 : "any",
        value: value === null || value === undefined ? "" : format.whole(value),
        list: field.categories?.length ? list : null,
        autocomplete: "off",
      });
    }
    const range =
      field.minimum !== undefined && field.maximum !== undefined
        ? `${format.number(field.minimum)} to ${format.number(field.maximum)}`
        : (field.categories?.join(", ") ?? "");
    const element = dom.make(
      "label",
      { class: "stacked" },
      dom.make(
        "span",
        {},
        field.name,
        " ",
        dom.make(
          "span",
          { class: "dim" },
          [field.type, field.optional ? "may be missing" : "", range].filter(Boolean).join(", "),
        ),
      ),
      box,
      field.categories?.length
        ? dom.make(
            "datalist",
            { id: list },
            field.categories.map((choice) => dom.make("option", { value: choice })),
          )
        : null,
    );
    return {
      element,
      pair() {
        const text = box.value;
        if (text === "" && field.optional) return [];
        if (field.type === "boolean") return [[field.name, text === "true"]];
        if (number) return [[field.name, text === "" ? null : Number(text)]];
        return [[field.name, text]];
      },
    };
  }

  /** @type {(found: Answer) => Child[]} */
  function answered({ answer, milliseconds }) {
    const [prediction] = answer.predictions ?? [];
    return [
      dom.make(
        "p",
        { class: "prediction" },
        dom.make("span", { class: "dim" }, "answers "),
        dom.make("strong", {}, format.plain(prediction)),
        dom.make("span", { class: "dim" }, ` in ${milliseconds} ms`),
      ),
      attributions(answer.explanations),
      dom.make(
        "details",
        {},
        dom.make("summary", {}, "The whole answer"),
        dom.make("pre", { class: "code", tabindex: 0 }, JSON.stringify(answer, null, 1)),
      ),
    ];
  }

  // What each feature added, as Vertex AI's attributions tell.
  /** @type {(explanations: Value) => Child} */
  function attributions(explanations) {
    const found = /** @type {any} */ (explanations)?.[0]?.attributions?.[0]?.featureAttributions;
    if (!found || typeof found !== "object") return null;
    const parts = Object.entries(found).flatMap(([name, value]) =>
      typeof value === "number" ? [{ name, value }] : [],
    );
    const most = parts.reduce((high, part) => Math.max(high, Math.abs(part.value)), 0) || 1;
    parts.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
    return dom.make(
      "div",
      { class: "attributions" },
      dom.make("h3", {}, "Why"),
      parts.slice(0, 20).map(({ name, value }) => {
        const bar = dom.make("span", { class: value < 0 ? "bar negative" : "bar" });
        bar.style.width = `${(100 * Math.abs(value)) / most}%`;
        return dom.make(
          "div",
          { class: "attribution" },
          dom.make("span", {}, name),
          dom.make("span", { class: "track" }, bar),
          dom.make("b", {}, format.number(value)),
        );
      }),
    );
  }

  /** @type {(form: RequestForm, explain: boolean) => string} */
  const urlOf = (form, explain) => (explain ? form.url.replace(/:predict$/, ":explain") : form.url);

  // A word for a POSIX shell.
  /** @type {(text: string) => string} */
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

  /** @type {(form: RequestForm, payload: string, explain: boolean) => string} */
  function asCurl(form, payload, explain) {
    const lines = [`curl ${quoted(urlOf(form, explain))}`, `  -H ${quoted("Content-Type: application/json")}`];
    if (form.google) lines.push('  -H "Authorization: Bearer $(gcloud auth print-access-token)"');
    return [...lines, `  -d ${quoted(payload)}`].join(" \\\n");
  }

  // A value as Python writes it.
  /** @type {(value: Value, indent?: string) => string} */
  function literal(value) {
    if (value === null || value === undefined) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (Array.isArray(value)) return `[${value.map((one) => literal(one)).join(", ")}]`;
    if (typeof value === "object")
      return `{${Object.entries(value)
        .map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`)
        .join(", ")}}`;
    return JSON.stringify(value);
  }

  /** @type {(form: RequestForm, payload: string, explain: boolean) => string} */
  function asPython(form, payload, explain) {
    let body = "...";
    try {
      body = literal(JSON.parse(payload));
    } catch {
      // it is being written
    }
    const url = JSON.stringify(urlOf(form, explain));
    const session = form.google
      ? [
          "import google.auth",
          "from google.auth.transport.requests import AuthorizedSession",
          "",
          "credentials, _ = google.auth.default(",
          '    scopes=["https://www.googleapis.com/auth/cloud-platform"]',
          ")",
          "session = AuthorizedSession(credentials)",
        ]
      : ["import requests", "", "session = requests.Session()"];
    return [
      ...session,
      "answer = session.post(",
      `    ${url},`,
      `    json=${body},`,
      "    timeout=60,",
      ")",
      "answer.raise_for_status()",
      'print(answer.json()["predictions"])',
    ].join("\n");
  }

  return { create };
})();
