"""`pip` inside a job: local archives are unpacked or built for the job, names are checked, nothing is downloaded.

Run as a separate program (`-I`, thus with the emulator's copy of this package, whatever the job brings).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edge_tasks.emulator.runtime.packages import PackageError, check, unpack

# Options of `pip install` that take a value; the rest are switches, and none matters here.
VALUED = frozenset(
    {"-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target"}
    | {"--prefix", "--root", "--timeout", "--retries", "--trusted-host", "--cache-dir", "--platform", "--src"}
    | {"--python-version", "--upgrade-strategy", "--proxy", "--cert", "--no-binary", "--only-binary", "-b"}
    | {"--progress-bar", "--config-settings", "--log"}
)
ARCHIVE = re.compile(r".*\.(tar\.gz|tgz|zip|whl)")
# The tools themselves are always new enough.
TOOLS = frozenset({"pip", "setuptools", "wheel"})


def main(site: str, arguments: list[str]) -> int:
    """Do what the arguments of pip ask for, as far as a job may."""
    if arguments[:1] in (["--version"], ["-V"]):
        print("pip 25.0 (the Vertex AI emulator's: takes local archives, downloads nothing)")  # noqa: T201
        return 0
    if arguments[:1] != ["install"]:
        return _fail(f"`pip {' '.join(arguments[:1])}` is not emulated in jobs; only `pip install` is")
    try:
        targets, requirements, with_dependencies = _read(arguments[1:])
        found = [unpack(path, Path(site)) for path in targets]
        wanted = [(requirements, "pip install")] if requirements else []
        if with_dependencies:
            wanted += [(list(d.requirements), f"{d.name} {d.version}") for d in found]
        for texts, wanted_by in wanted:
            check(tuple(texts), wanted_by, Path(site))
    except PackageError as error:
        return _fail(str(error))
    return 0


def _read(arguments: list[str]) -> tuple[list[Path], list[str], bool]:
    targets: list[Path] = []
    requirements: list[str] = []
    with_dependencies = True
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in {"-r", "--requirement"}:
            requirements += _requirement_file(Path(value if equals else next(rest, "")))
        elif argument in VALUED:
            next(rest, None)
        elif argument == "--no-deps":
            with_dependencies = False
        elif argument.startswith("-"):
            if argument in {"-e", "--editable"}:
                raise PackageError("pip install -e is not emulated in jobs")
        elif ARCHIVE.fullmatch(argument.partition("[")[0]):
            path = Path(argument.partition("[")[0].removeprefix("file://"))
            if not path.is_file():
                raise PackageError(f"Could not find the file {path}")
            targets.append(path)
        elif "/" in argument or argument == ".":
            raise PackageError(f"{argument}: only archives and requirement names can be installed in jobs")
        elif re.split(r"[\[<>=!~; ]", argument)[0].lower() not in TOOLS:
            requirements.append(argument)
    return targets, requirements, with_dependencies


def _requirement_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PackageError(f"Could not open the requirements file {path}: {error.strerror}") from None
    texts = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [text for text in texts if text and not text.startswith("-")]


def _fail(message: str) -> int:
    print(f"ERROR: {message}", file=sys.stderr)  # noqa: T201
    return 1
