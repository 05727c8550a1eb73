"""The report as one HTML file: tables, and a histogram of each column. It loads nothing and runs no script.

What comes from requests is escaped, and the page's own policy forbids scripts and everything from elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from html import escape

from edge_tasks.domain.distributions import CATEGORY, DATE, Distribution
from edge_tasks.domain.drift import CHANGED, Comparison
from edge_tasks.domain.groups import Outcome
from edge_tasks.monitoring import text
from edge_tasks.monitoring.bias import Groups
from edge_tasks.monitoring.watch import Watched

# Bars of a histogram, and characters below one.
_MOST_BARS, _LABEL = 14, 18
_WIDTH, _HEIGHT = 720, 150
# About the width of a sign of a label.
_SIGN = 5.6

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --dim: #66707c; --page: #fff; --line: #d9dee4; --before: #9fb3c8;
  --now: #2f6fb0; --alarm: #b3261e; --alarm-page: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa4af; --page: #14191f; --line: #333c46;
  --before: #5b6b7b; --now: #6cb0f5; --alarm: #ff8a80; --alarm-page: #3a1d1b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.dim { color: var(--dim); } .verdict { font-size: 1.1rem; padding: .6rem .9rem; border: 1px solid var(--line);
  border-radius: 6px; } .verdict.changed { color: var(--alarm); background: var(--alarm-page); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 600; } td.changed { color: var(--alarm); font-weight: 600; }
section { border-top: 1px solid var(--line); } svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font: 10px system-ui, sans-serif; } .before { fill: var(--before); }
.now { fill: var(--now); } .key { display: inline-block; width: .8rem; height: .8rem; vertical-align: -1px; }
.key.before { background: var(--before); } .key.now { background: var(--now); }
"""
_KEY = (
    '<p class="dim"><span class="key before"></span> before &nbsp; <span class="key now"></span> now: shares of the '
    "values. A distance lies between 0 (the same) and 1 (nothing in common).</p>"
)


def page(watched: Watched, groups: Groups | None = None, days: dict[str, Outcome] | None = None) -> str:
    """Return the report as HTML."""
    time = f", {watched.since:%Y-%m-%d %H:%M} to {watched.until:%Y-%m-%d %H:%M} UTC" if watched.until else ""
    parts = [
        f"<h1>{_text(watched.model)}</h1>",
        f'<p class="dim">{watched.requests} requests{time}; compared with {_text(watched.against)}</p>',
        f'<p class="verdict {"changed" if watched.changed else ""}">{_text(_sentence(watched.verdict))}</p>',
        _table(*text.table(watched, everything=True)),
        _KEY,
    ]
    parts += [_column(one) for one in watched.comparisons]
    if groups is not None:
        parts += [f"<h2>Groups of {_text(groups.column)}</h2>", _table(*text.group_table(groups))]
        parts += [f'<p class="dim">{_text(_sentence(text.CAUTION))}</p>']
    if days:
        parts += ["<h2>Errors over time</h2>", _table(*text.day_table(days))]
    return "\n".join([*_head(watched.model), *parts, "</body></html>", ""])


def _head(title: str) -> list[str]:
    return [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}: monitoring</title><style>{_STYLE}</style></head><body>",
    ]


def _text(value: str) -> str:
    """Return what others wrote as text of a page."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in value))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str) -> str:
    return f'<td class="changed">{CHANGED}</td>' if cell == CHANGED else f"<td>{_text(cell)}</td>"


def _column(one: Comparison) -> str:
    told = f"{one.measure.replace('_', '-')} {one.distance:.3f}, threshold {one.threshold:.3f}: {one.verdict}"
    missing = f"; missing {_share_of_missing(one.before)} before, {_share_of_missing(one.now)} now"
    has_missing = one.before.missing or one.now.missing
    return (
        f'<section><h2>{_text(one.column)}</h2><p class="dim">{_text(told)}{missing if has_missing else ""}</p>'
        f"{_histogram(_bars(one.before, one.now), one.column)}</section>"
    )


def _share_of_missing(distribution: Distribution) -> str:
    return f"{distribution.missing / (distribution.total or 1):.1%}"


def _bars(before: Distribution, now: Distribution) -> list[tuple[str, float, float]]:
    """Return the label of each bar, and both shares."""
    totals = before.total or 1, now.total or 1
    if before.kind == CATEGORY:
        names = {**before.categories, **now.categories}
        ordered = sorted(names, key=lambda name: -before.categories.get(name, 0) - now.categories.get(name, 0))
        bars = [
            (name, before.categories.get(name, 0) / totals[0], now.categories.get(name, 0) / totals[1])
            for name in ordered
        ]
        rest = bars[_MOST_BARS:]
        bars = bars[:_MOST_BARS]
        if rest:
            bars.append(("the rest", sum(one[1] for one in rest), sum(one[2] for one in rest)))
        return bars
    labels = _bin_labels(before)
    bars = [
        (label, first / totals[0], second / totals[1])
        for label, first, second in zip(labels, before.counts, now.counts, strict=True)
    ]
    # Between few numbers lie empty bins.
    return [bar for bar in bars if bar[1] or bar[2]]


def _bin_labels(distribution: Distribution) -> list[str]:
    edges = distribution.edges
    if not edges:
        return ["any"]
    if distribution.kind == DATE:  # two dates are too long to stand below a bar
        inside = [distribution.written(low, 3) for low in edges[:-1]]
    else:
        inside = [distribution.between(low, high, 3) for low, high in itertools.pairwise(edges)]
    return [f"< {distribution.written(edges[0], 3)}", *inside, f"> {distribution.written(edges[-1], 3)}"]


def _placed(middle: float, half: float) -> tuple[float, str]:
    """Return where a label stands and from where it runs, so that it stays inside the picture."""
    if middle - half < 0:
        return 0.0, "start"
    return (_WIDTH, "end") if middle + half > _WIDTH else (middle, "middle")


def _histogram(bars: Sequence[tuple[str, float, float]], name: str) -> str:
    if not bars:
        return '<p class="dim">no values</p>'
    largest = max(max(first, second) for _, first, second in bars) or 1.0
    step = _WIDTH / len(bars)
    width = min(28.0, step * 0.38)
    drawn = [f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" stroke="var(--line)"/>']
    for place, (label, *shares) in enumerate(bars):
        middle = step * (place + 0.5)
        for number, (kind, share) in enumerate(zip(("before", "now"), shares, strict=True)):
            height = share / largest * (_HEIGHT - 18)
            left = middle - width + number * (width + 1)
            drawn.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}"><title>{_text(label)}: {share:.1%} {kind}</title></rect>'
            )
        short = label if len(label) <= _LABEL else label[: _LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
        low = _HEIGHT + (13 if place % 2 == 0 or len(bars) < 8 else 25)
        at, anchor = _placed(middle, len(short) * _SIGN / 2)
        drawn.append(f'<text x="{at:.1f}" y="{low}" text-anchor="{anchor}">{_text(short)}</text>')
    drawn.append(f'<text x="0" y="10">{largest:.0%}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 30}" role="img" aria-label="Histogram of {_text(name)}">'
        f"{''.join(drawn)}</svg>"
    )
