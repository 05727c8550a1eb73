"""`pip` inside a job: local archives are unpacked or built for the job, and what they and the job require is there.

A job that shares the emulator's environment has the names checked, and nothing is downloaded. One that is isolated gets
an environment with them, which the emulator makes: it alone is told where packages are.

Run as a separate program (`-I`, thus with the emulator's copy of this package, whatever the job brings).
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from edge_tasks.emulator.runtime import job_programs
from edge_tasks.emulator.runtime.packages import PackageError, check, unpack

# Options of `pip install` that take a value; the rest are switches, and none matters here.
VALUED = frozenset(
    {"-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target"}
    | {"--prefix", "--root", "--timeout", "--retries", "--trusted-host", "--cache-dir", "--platform", "--src"}
    | {"--python-version", "--upgrade-strategy", "--proxy", "--cert", "--no-binary", "--only-binary", "-b"}
    | {"--progress-bar", "--config-settings", "--log"}
)
ARCHIVE = re.compile(r".*\.(tar\.gz|tgz|zip|whl)")
# Of those, the ones that say where packages are looked for.
PLACES = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
}
# The tools themselves are always new enough.
TOOLS = frozenset({"pip", "setuptools", "wheel"})


@dataclass
class Asked:
    """What the arguments of `pip install` ask for."""

    targets: list[Path] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    with_dependencies: bool = True
    # Where packages are looked for, as options of pip.
    places: list[str] = field(default_factory=list)


def main(site: str, isolation: str, arguments: list[str]) -> int:
    """Do what the arguments of pip ask for, as far as a job may; `isolation` is the file of a job that is isolated."""
    if arguments[:1] in (["--version"], ["-V"]):
        print("pip 25.0 (the Vertex AI emulator's: takes local archives, downloads nothing)")  # noqa: T201
        return 0
    if arguments[:1] != ["install"]:
        return _fail(f"`pip {' '.join(arguments[:1])}` is not emulated in jobs; only `pip install` is")
    try:
        asked = _read(arguments[1:])
        found = [unpack(path, Path(site)) for path in asked.targets]
        wanted = [(asked.requirements, "pip install")] if asked.requirements else []
        if asked.with_dependencies:
            wanted += [(list(d.requirements), f"{d.name} {d.version}") for d in found if d.requirements]
        if isolation and wanted:
            _add(Path(isolation), [text for texts, _ in wanted for text in texts], asked.places)
        elif not isolation:
            for texts, wanted_by in wanted:
                check(tuple(texts), wanted_by, Path(site))
    except PackageError as error:
        return _fail(str(error))
    return 0


def _add(file: Path, requirements: list[str], places: list[str]) -> None:
    """Let the job's environment be one with these requirements, too."""
    isolation = json.loads(file.read_text())
    isolation["requirements"] = list(dict.fromkeys([*isolation["requirements"], *requirements]))
    isolation["options"] = list(dict.fromkeys([*isolation["options"], *places]))
    body = json.dumps({name: isolation[name] for name in ("python", "packages", "requirements", "options")}).encode()
    # Neither a proxy nor a limit: it is this machine, and a large library takes its time.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{isolation['url']}/_emulator/environments", data=body, method="POST")  # noqa: S310
    try:
        with opener.open(request) as answer:
            environment = Path(json.load(answer)["folder"])
    except urllib.error.HTTPError as error:
        raise PackageError(json.load(error)["error"]["message"]) from None
    except OSError as error:
        raise PackageError(f"The emulator does not answer: {error}") from None
    file.write_text(json.dumps(isolation))
    job_programs.use(file.parent / "bin", environment)
    if not _asked_by_a_shell():
        later, new = Path(isolation["later"]), Path(f"{isolation['later']}.new")
        new.symlink_to(next((environment / "lib").glob("python*/site-packages")))
        if later.is_symlink():
            later.unlink()
        else:
            later.rmdir()
        new.rename(later)


def _asked_by_a_shell() -> bool:
    """Whether no Python waits for this; where that cannot be known, one may."""
    try:
        name = Path(f"/proc/{os.getppid()}/exe").resolve().name
    except OSError:
        return False
    return not name.startswith("python")


def _read(arguments: list[str]) -> Asked:
    asked = Asked()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in {"-r", "--requirement"}:
            _read_file(Path(value if equals else next(rest, "")), asked)
        elif name in PLACES and (equals or argument in PLACES):
            asked.places += [PLACES[name], value if equals else next(rest, "")]
        elif argument in VALUED:
            next(rest, None)
        elif argument == "--no-deps":
            asked.with_dependencies = False
        elif argument.startswith("-"):
            if argument in {"-e", "--editable"}:
                raise PackageError("pip install -e is not emulated in jobs")
        elif ARCHIVE.fullmatch(argument.partition("[")[0]):
            path = Path(argument.partition("[")[0].removeprefix("file://"))
            if not path.is_file():
                raise PackageError(f"Could not find the file {path}")
            asked.targets.append(path)
        elif "/" in argument or argument == ".":
            raise PackageError(f"{argument}: only archives and requirement names can be installed in jobs")
        elif re.split(r"[\[<>=!~; ]", argument)[0].lower() not in TOOLS:
            asked.requirements.append(argument)
    return asked


def _read_file(path: Path, asked: Asked) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PackageError(f"Could not open the requirements file {path}: {error.strerror}") from None
    for text in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines):
        if not text.startswith("-"):
            asked.requirements += [text] if text else []
            continue
        name, _, value = text.replace("=", " ", 1).partition(" ")
        if name in {"-r", "--requirement"}:
            _read_file(path.parent / value.strip(), asked)
        elif name in PLACES:
            asked.places += [PLACES[name], value.strip()]


def _fail(message: str) -> int:
    print(f"ERROR: {message}", file=sys.stderr)  # noqa: T201
    return 1
