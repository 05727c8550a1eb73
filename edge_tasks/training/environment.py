"""Which libraries an artifact needs, and in which versions: by what its pickle names and its code imports."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import FrameType

from edge_tasks.domain.imports import imported_modules
from edge_tasks.domain.model_formats import CODE_FOLDER, PREDICTOR_FILE, REQUIREMENTS_FILE, ModelFormat
from edge_tasks.domain.signature import ARRAY, TABLE, Signature
from edge_tasks.serving.distributions import by_module
from edge_tasks.serving.pickle_scan import UnreadablePickleError, needed_modules

# A pickle of these says nothing of them: they are found by what was loaded.
_ALWAYS = ("scikit-learn", "numpy", "scipy", "joblib")
_PICKLES = ("joblib", "pickle")
# Dimensions of an array that may be a picture: see edge_tasks.serving.inputs.
PICTURES = (2, 3)


def write_environment(artifact: Path, form: ModelFormat, model: object, signature: Signature | None) -> dict[str, str]:
    """Write `requirements.txt` and the code that it needs into an artifact's folder; return what it needs.

    requirements.txt has all of it, with what that needs in turn; what is returned is Python and the libraries that the
    artifact names itself. The signature tells what requests are made into: DataFrames, or arrays of pictures.
    """
    own = model_folder()
    modules = _modules_of(artifact / form.file) if form.name in _PICKLES else set()
    modules |= _modules_of_class(model)
    tops = {module.partition(".")[0] for module in modules}
    if own is not None:
        tops |= set(_copy_code(own, tops, artifact / CODE_FOLDER))
    if signature is not None and signature.form == TABLE:
        tops.add("pandas")
    if signature is None or signature.form == ARRAY:
        tops.add("numpy")
    if signature is not None and signature.form == ARRAY and len(signature.shape) in PICTURES:
        # Pictures may be asked as files; where Pillow is not installed, they were none.
        tops.add("PIL")
    needed = {distribution for top in tops for distribution in _distributions(top)}
    if form.package:
        needed.add(form.package)
    # A build such as 2.13.0+cpu is in no public index; without the build, pip takes it where it is.
    lines = [f"{name}=={version.partition('+')[0]}" for name, version in sorted(_closure(needed).items())]
    header = "# All that the artifact needs, as it was where it was made; written by vertex-edge.\n"
    header += f"# Python {platform.python_version()}\n"
    (artifact / REQUIREMENTS_FILE).write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    shown = {name: version for name in sorted({*needed, *_ALWAYS}) if (version := _version(name))}
    return {"python": platform.python_version(), **shown}


def model_folder() -> Path | None:
    """Return the folder of the train.py that calls: the first that the callers' files lie in, or below."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  the only way to know the caller
    while frame is not None:
        file = frame.f_globals.get("__file__")
        if file:
            for folder in Path(file).resolve().parents[:3]:
                if (folder / "train.py").is_file() and "site-packages" not in folder.parts:
                    return folder
        frame = frame.f_back
    return None


def _modules_of(path: Path) -> set[str]:
    try:
        return needed_modules(path)
    except UnreadablePickleError:  # an exotic pickle: what was loaded says more than nothing
        return set()


def _modules_of_class(model: object) -> set[str]:
    return {base.__module__ for base in type(model).__mro__ if base.__module__ not in ("builtins", "__main__", "abc")}


# -- code --


def _copy_code(folder: Path, tops: Iterable[str], destination: Path) -> Iterator[str]:
    """Copy the modules of the model's folder that the artifact needs; yield the other packages that they import."""
    todo = [top for top in tops if _own_files(folder, top)]
    if (folder / PREDICTOR_FILE).is_file():
        todo.append(Path(PREDICTOR_FILE).stem)
    done: set[str] = set()
    while todo:
        top = todo.pop()
        if top in done:
            continue
        done.add(top)
        for path in _own_files(folder, top):
            target = destination / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            if path.suffix == ".py":
                for module in imported_modules(path.read_text(encoding="utf-8")):
                    name = module.name.partition(".")[0]
                    if _own_files(folder, name):
                        todo.append(name)
                    else:
                        yield name


def _own_files(folder: Path, top: str) -> list[Path]:
    """Return the files of a module or package of the model's folder; none when it has no such module."""
    if top in ("train", "__main__") or not top:
        return []
    module = folder / f"{top}.py"
    if module.is_file():
        return [module]
    package = folder / top
    if not (package / "__init__.py").is_file() and not _is_namespace(package):
        return []
    return [path for path in sorted(package.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def _is_namespace(package: Path) -> bool:
    """Say whether a folder without `__init__.py` is what Python imports by its name: nothing installed has it."""
    name = package.name
    known = name in sys.stdlib_module_names or name == "edge_tasks" or name in by_module()
    return not known and package.is_dir() and any(package.rglob("*.py"))


# -- distributions --


def _distributions(top: str) -> list[str]:
    if top in sys.stdlib_module_names or top == "edge_tasks":
        return []
    return [_plain(name) for name in by_module().get(top, ())]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _closure(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of `names` and of all that they require."""
    from packaging.requirements import InvalidRequirement, Requirement

    found: dict[str, str] = {}
    todo = [_plain(name) for name in names]
    while todo:
        name = todo.pop()
        version = _version(name)
        if name in found or version is None:
            continue
        # A local part (+cpu) names a build that the index may not have.
        found[name] = version.partition("+")[0]
        for text in metadata.requires(name) or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(_plain(requirement.name))
    return found
