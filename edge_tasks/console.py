"""The only module that prints: results on stdout, everything else on stderr.

On a terminal a line at the bottom shows what is being waited for; elsewhere (pipes, CI, dumb terminals) only plain
lines appear, and a long wait says so now and then.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_tasks.domain.progress import duration
from edge_tasks.errors import EdgeError
from edge_tasks.explanations import with_code

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.status import Status
    from typing_extensions import Self

# Seconds without a line after which a wait says that it continues, where there is no terminal.
_QUIET_INTERVAL = 30.0


class Console:
    """Progress on stderr. Use one for each command, and `close` it (or use it as a context manager)."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole

        self._console: RichConsole = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, text: str) -> None:
        """Print one line that stays."""
        self.close()
        self._print("[bold cyan]>[/] ", text)

    def log(self, text: str) -> None:
        """Print one line that another program printed, set off from our own."""
        self._print("[dim]  |[/] ", text)

    def waiting(self, text: str, elapsed: float) -> None:
        """Show what is being waited for, and for how long."""
        if not self._console.is_terminal:
            if time.monotonic() - self._last_line >= _QUIET_INTERVAL:
                self._print("  ", f"{text} ({duration(elapsed)})")
            return
        from rich.markup import escape

        line = f"{escape(text)} [dim]{duration(elapsed)}[/]"
        if self._status is None:
            self._status = self._console.status(line, spinner="line")
            self._status.start()
        else:
            self._status.update(line)

    def close(self) -> None:
        """Remove the line of a wait."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _print(self, mark: str, text: str) -> None:
        from rich.markup import escape

        self._console.print(f"{mark}{escape(text)}")
        self._last_line = time.monotonic()


def print_result(text: str) -> None:
    """Print a result: the only thing that goes to stdout, so that `$(invoke ...)` works."""
    sys.stdout.write(f"{text}\n")


def print_table(columns: list[str], rows: list[list[str]], spare: Sequence[str] = ()) -> None:
    """Print a table to stdout: for people aligned, without empty columns, and no wider than their terminal.

    Where it cannot be made so narrow, the columns of `spare` are left out, the first one first, then the last ones; a
    note names them. It is tab-separated and whole when it is piped into a program.
    """
    if not sys.stdout.isatty():
        sys.stdout.write("".join("\t".join(row) + "\n" for row in [columns, *rows]))
        return
    filled = [i for i in range(len(columns)) if not rows or any(row[i] for row in rows)]
    width = shutil.get_terminal_size().columns
    missing: list[str] = []
    while True:
        table = [[row[i] for i in filled] for row in [columns, *rows]]
        widths = _widths(table, width)
        if _total(widths) <= width or len(filled) <= _FEWEST_COLUMNS:
            break
        names = [columns[i] for i in filled]
        name = next((name for name in spare if name in names), names[-1])
        missing.append(name)
        del filled[names.index(name)]
    for row in table:
        cells = [textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(width) for part, width in zip(line, widths, strict=True))
            sys.stdout.write("  ".join(padded).rstrip() + "\n")
    if missing:
        sys.stdout.flush()
        print_note(f"left out for want of room (--json shows all): {', '.join(missing)}")


# Characters. Shorter words are not cut for a narrow terminal: names, numbers, dates.
_LONG_WORD = 26
# A table with fewer columns says nothing.
_FEWEST_COLUMNS = 2


def _widths(table: list[list[str]], limit: int) -> list[int]:
    """Return the width of each column: what it needs, or where that is too much in all, less for the widest."""
    columns = list(zip(*table, strict=True))
    widths = [max(1, *(len(cell) for cell in column)) for column in columns]
    least = [
        min(width, max(1, *(min(len(word), _LONG_WORD) for cell in column for word in cell.split() or [""])))
        for width, column in zip(widths, columns, strict=True)
    ]
    while _total(widths) > limit:
        spare = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not spare:
            break
        widths[max(spare, key=lambda i: widths[i])] -= 1
    return widths


def _total(widths: list[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def print_json(value: Any) -> None:
    """Print a result as JSON to stdout."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_document(value: Any, *, json: bool) -> None:
    """Print what is not a table to stdout: as YAML for people, or as JSON."""
    if json:
        print_json(value)
        return
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    sys.stdout.write(text.removesuffix("...\n").rstrip() + "\n")


def print_csv(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table as CSV to stdout."""
    import csv

    csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])


def print_bytes(content: bytes) -> None:
    """Print to stdout what another program wrote, byte for byte."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_warning(text: str) -> None:
    """Say on stderr what is not as it should be, though the command continues."""
    sys.stderr.write(f"warning: {text}\n")


def print_note(text: str) -> None:
    """Say on stderr what is good to know, though all is as it should be."""
    sys.stderr.write(f"note: {text}\n")


def print_error(error: EdgeError) -> None:
    """Print an error as its fact and its hint, on stderr."""
    from rich.console import Console as RichConsole
    from rich.markup import escape

    console: Any = RichConsole(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(with_code(error.problem))}")
    if error.hint:
        console.print(f"\n[bold cyan]hint:[/] {escape(error.hint)}")


def told(error: EdgeError) -> str:
    """Return an error as other programs print it: its fact with its code, and its hint."""
    return str(EdgeError(with_code(error.problem), error.hint))


def confirm(question: str) -> bool:
    """Ask on the terminal; without one the answer is no, so nothing ever waits for a person who is not there."""
    if not can_ask():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def choose(question: str, answers: tuple[str, ...], limit: float) -> str | None:
    """Ask on the terminal for one of `answers`, which may be shortened, and return it; None without a terminal.

    When the input ends, or nobody answers within `limit` seconds, it is the first.
    """
    import select

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    deadline = time.monotonic() + limit
    while True:
        sys.stderr.write(f"{question} [{'/'.join(answers)}] ")
        sys.stderr.flush()
        try:
            ready, _, _ = select.select([sys.stdin], [], [], max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            raise
        line = sys.stdin.readline() if ready else ""
        if not line:
            sys.stderr.write(f"{answers[0]}\n")
            return answers[0]
        word = line.strip().lower()
        matching = [answer for answer in answers if word and answer.startswith(word)]
        if len(matching) == 1:
            return matching[0]


def can_ask() -> bool:
    """Say whether somebody is there to answer: never ask without."""
    return sys.stdin.isatty()


def ask(question: str, default: str) -> str:
    """Ask on the terminal (see `can_ask`); Enter alone gives `default`, the end of the input is taken like Ctrl-C."""
    sys.stderr.write(f"{question} [{default}]: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt
    return line.strip() or default
