"""What is wrong with a text of YAML, in words for its reader."""

from __future__ import annotations


def yaml_problem(error: Exception, text: str = "") -> str:
    """Return in one line what PyYAML or ruamel.yaml says of a file that holds `text`, and where in it.

    Of a date that no calendar has, such as 2026-13-45, and of a number with thousands of digits they raise ValueError,
    and RecursionError of lists in lists in lists, a thousand deep.
    """
    if isinstance(error, RecursionError):
        return "lists and mappings stand too deep in each other"
    problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
    if problem.startswith("found duplicate key "):
        problem = problem.partition(' with value "')[0]  # both values, which may be long
    if "'\\t'" in problem:
        problem = "a tab, where only spaces may stand"
    mark = getattr(error, "problem_mark", None)
    if mark:
        return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
    place = getattr(error, "position", None)  # of a character that no YAML may hold
    return f"{problem} (line {text.count(chr(10), 0, place) + 1})" if text and isinstance(place, int) else problem
