"""A model's artifact, before it is deployed: what its pickle needs, against what will be where it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_tasks.domain import images
from edge_tasks.domain.model_formats import CODE_FOLDER, format_of
from edge_tasks.domain.serving_choice import CONTAINER, PREDICTOR, ArtifactFacts, Serving
from edge_tasks.readiness import distributions
from edge_tasks.readiness.complaints import Complaint
from edge_tasks.serving.pickle_scan import UnreadablePickleError, needed_names

_PICKLES = ("joblib", "pickle")
# Python of the prebuilt prediction images that load pickles.
_PYTHON = (3, 10)


def complaints(name: str, artifact: Path, facts: ArtifactFacts, serving: Serving) -> list[Complaint]:
    """Return what would fail when the artifact of the model `name` is loaded by what serves it."""
    form = format_of(facts.files)
    if serving.kind == CONTAINER or form is None or form.name not in _PICKLES or not artifact.is_dir():
        return []
    where = f"models/{name}/{artifact.name}/{form.file}"
    try:
        names = sorted(needed_names(artifact / form.file))
    except UnreadablePickleError as error:
        return [Complaint(where, f"cannot be read ({error})", "train again")]
    return [*_of_main(name, where, names), *_modules(where, names, facts, serving)]


def _of_main(name: str, where: str, names: Sequence[str]) -> Iterator[Complaint]:
    for full in names:
        module, _, what = full.partition(":")
        if module == "__main__":
            yield Complaint(
                where,
                f"needs `{what}` of train.py, which is not imported where the model serves",
                f"move it to a module next to train.py, such as models/{name}/features.py, and import it in train.py",
            )


def _modules(where: str, names: Sequence[str], facts: ArtifactFacts, serving: Serving) -> Iterator[Complaint]:
    own = {*facts.own_modules, "__main__"} if serving.kind == PREDICTOR else {"__main__"}
    held = _held(facts, serving)
    if held is None:
        return
    for top in dict.fromkeys(full.partition(":")[0].partition(".")[0] for full in names):
        if top in own or distributions.is_of_python(top, _PYTHON):
            continue
        if any(package in held for package in distributions.packages_of(top)):
            continue
        if serving.kind == PREDICTOR:
            fix = f"put it next to train.py, or into {CODE_FOLDER}/ of the artifact, or require the package of it"
        else:
            fix = "set `serving: predictor` in edge.yaml, and train with the save_results of this vertex-edge"
        yield Complaint(where, f"needs the module `{top}`, which {_what(serving)} does not have", fix)


def _held(facts: ArtifactFacts, serving: Serving) -> set[str] | None:
    """Return the packages that are there; None when that is not known."""
    if serving.kind == PREDICTOR:
        if facts.requirements is None:
            return None
        lines = (line.partition("#")[0].strip() for line in facts.requirements.splitlines())
        return distributions.brought_by(line for line in lines if line)
    prebuilt = images.prebuilt(serving.container.image)
    held = images.held_for_prediction(prebuilt) if prebuilt else None
    return set(held) if held is not None else None


def _what(serving: Serving) -> str:
    return "the predictor's image" if serving.kind == PREDICTOR else serving.container.image
