"""What is wrong with a text of YAML, in words for its reader."""

from __future__ import annotations


def yaml_problem(error: Exception) -> str:
    """Return in one line what PyYAML or ruamel.yaml says of a file, and where in it.

    Of a date that no calendar has, such as 2026-13-45, and of a number with thousands of digits they raise ValueError.
    """
    problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
    if problem.startswith("found duplicate key "):
        problem = problem.partition(' with value "')[0]  # both values, which may be long
    if "'\\t'" in problem:
        problem = "a tab, where only spaces may stand"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem
