"use strict";

// What a terminal would show of a program's output: colours of ANSI escapes become classes, other escapes are left out,
// and of a line that was written over only the last state is shown. Text stays text.
const ansi = (() => {
  // CSI sequences, OSC sequences (titles, links), and single escapes.
  const ESCAPE = /\u001b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\^_])/g;
  const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
  // Characters that cannot be seen, but ends of lines and tabs.
  const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g;

  function create() {
    /** @type {Set<string>} */
    let look = new Set();

    /** @type {(codes: string) => void} */
    function change(codes) {
      for (const code of codes.split(";").map(Number)) {
        if (!code) look = new Set();
        else if (code === 1) look.add("bold");
        else if (code === 2) look.add("faint");
        else if (code === 22) for (const name of ["bold", "faint"]) look.delete(name);
        else if ((code >= 30 && code <= 39) || (code >= 90 && code <= 97)) {
          look = new Set([...look].filter((name) => !name.startsWith("ansi-")));
          if (code !== 39 && code !== 38) look.add(`ansi-${NAMES[code % 10]}`);
        }
      }
    }

    /** @type {(text: string) => Child} */
    function piece(text) {
      const seen = text.replace(UNSEEN, "");
      return look.size && seen ? dom.make("span", { class: [...look].join(" ") }, seen) : seen;
    }

    // The nodes for a further piece of output.
    /** @type {(text: string) => Child[]} */
    function read(text) {
      const lines = text.replace(/\r+\n/g, "\n").replace(/[^\n]*\r(?=[^\n])/g, "");
      /** @type {Child[]} */
      const found = [];
      let from = 0;
      for (const match of lines.matchAll(ESCAPE)) {
        found.push(piece(lines.slice(from, match.index)));
        if (match[2] === "m") change(match[1]);
        from = match.index + match[0].length;
      }
      found.push(piece(lines.slice(from)));
      return found;
    }

    return { read };
  }

  return { create };
})();
