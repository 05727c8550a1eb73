"""The decorator that decides where a training runs: in this process, or as a custom job on Vertex AI."""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.errors import EdgeError, TrainingError, disk_refusal
from edge_tasks.repo.edge_yaml import find_root
from edge_tasks.repo.results import PLOTS_FOLDER
from edge_tasks.tools.signals import LeftRunningError, take_sigterm_like_ctrl_c
from edge_tasks.tracking.backend import TrackingBackend
from edge_tasks.tracking.sacred_observer import recorded, silence_sacred
from edge_tasks.training.context import TrainingState, current_spec, read_config_and_state
from edge_tasks.training.data import used_data
from edge_tasks.training.failure import (
    TrainingFailedError,
    TrainingInterruptedError,
    ended_itself,
    is_script,
    show_errors_plainly,
)
from edge_tasks.training.run_options import (
    RunOptions,
    silence_options,
    take_options,
    with_options,
    without_options,
)

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OUTPUT_ARGUMENT = "model_output_dir"


@overload
def vertex_wrapper(config: _Function) -> _Function: ...
@overload
def vertex_wrapper(config: EdgeConfig, state: TrainingState) -> Callable[[_Function], _Function]: ...
def vertex_wrapper(config: Any, state: TrainingState | None = None) -> Any:
    """Decorate the main function of a Sacred experiment; it stands below `@ex.automain`.

    `@vertex_wrapper` alone reads edge.yaml when a run begins; `@vertex_wrapper(config, state)` takes what
    `get_config_and_state` returned.

    With `is_vertex=False` in the experiment's config the function runs in this process, with `is_vertex=True` as a
    custom job on Vertex AI. Either way artifact, metrics and trained_model.json appear in the model's folder when, and
    only when, the training succeeded, and the metrics are recorded in the Sacred run.

    The experiment's config must hold `model_name`; the function must take `model_output_dir`. Five more values are
    understood in `with`: `force`, `on_interrupt`, `dry_run`, `checks`, `publish` (see
    `edge_tasks.training.run_options`). Called directly, outside a Sacred run, the function is just itself: that is how
    tests use it.
    """
    del state  # part of the interface; a training that needs it takes it from get_config_and_state
    if callable(config):
        return _decorator(lambda: read_config_and_state()[0])(config)
    return _decorator(lambda: config)


def _decorator(get_config: Callable[[], EdgeConfig]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        if _OUTPUT_ARGUMENT not in signature.parameters:
            raise TypeError(f"{function.__name__}() must take `{_OUTPUT_ARGUMENT}`, the folder to save results in")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            bound = outer.bind(*args, **kwargs)
            run = bound.arguments.get("_run")
            if "_run" not in signature.parameters:
                bound.arguments.pop("_run", None)
            if run is None:
                return function(**bound.arguments)
            take_sigterm_like_ctrl_c()
            try:
                options = take_options(bound.arguments, signature)
                return _train(get_config(), run, function, bound.arguments, options)
            except EdgeError as error:
                raise TrainingFailedError(error) from error
            except OSError as error:
                if (problem := disk_refusal(error)) is None:
                    raise
                raise TrainingFailedError(problem) from error
            except SystemExit as error:
                raise TrainingFailedError(ended_itself(error)) from error
            except LeftRunningError:
                raise TrainingInterruptedError("the job is still running; nothing was changed here") from None
            except KeyboardInterrupt:
                raise TrainingInterruptedError("the training was ended; nothing was changed") from None

        outer = with_options(signature if "_run" in signature.parameters else _with_run(signature))
        if is_script(function.__module__):
            show_errors_plainly(function.__module__)
            silence_sacred(wrapper)
            silence_options()
        wrapper.__signature__ = outer  # type: ignore[attr-defined]  # Sacred looks at it for the arguments to pass
        return wrapper  # type: ignore[return-value]

    return decorate


def _with_run(signature: inspect.Signature) -> inspect.Signature:
    run = inspect.Parameter("_run", inspect.Parameter.KEYWORD_ONLY, default=None)
    return signature.replace(parameters=[*signature.parameters.values(), run])


def _train(
    config: EdgeConfig, run: Any, function: Callable[..., Any], arguments: Mapping[str, Any], options: RunOptions
) -> Any:
    spec = current_spec()
    if spec is not None:
        return _train_in_job(config, run, spec, function, arguments)
    from edge_tasks.jobs.quick_try import other_parameters
    from edge_tasks.jobs.run_script import check_script
    from edge_tasks.jobs.training import TrainingJob
    from edge_tasks.repo.layout import model_folder

    parameters = without_options(_plain(run.config), inspect.signature(function))
    name = parameters.get("model_name")
    if not isinstance(name, str):
        raise TrainingError("the experiment's config has no `model_name`", 'add `model_name = "NAME"` to @ex.config')
    source = Path(function.__code__.co_filename)
    script = source.name
    check_script(find_root(), source, name, config)
    name, _ = config.model(name)
    root, chosen = find_root(), _chosen(parameters, run)
    tried: list[str] = []
    if not options.publish:
        assigned = without_options(dict.fromkeys(_assigned(run)), inspect.signature(function))
        tried = other_parameters(model_folder(root, name), chosen, assigned)
        if options.publish is False:
            tried = tried or ["publish=False"]
    training = TrainingJob(config, root, name, script, parameters, chosen, tried)
    if options.dry_run:
        training.describe(checks=options.checks)
        return None
    if isinstance(parameters.get("is_vertex"), str):  # else `false`, a text, would be a job
        raise TrainingError(
            f"`is_vertex` is the text `{parameters['is_vertex']}`, neither True nor False",
            "`with is_vertex=False` (Python's spelling); in params.yaml `is_vertex: false`",
        )
    if parameters.get("is_vertex"):
        metrics = training.as_job(force=options.force, checks=options.checks, on_interrupt=options.on_interrupt)
        result = None
    else:
        with recorded(run, training.run_id, name, TrackingBackend(config, training.root), training.facts()) as note:

            def trained(folder: Path) -> Any:
                result = function(**{**arguments, _OUTPUT_ARGUMENT: str(folder)})
                note.plots(folder / PLOTS_FOLDER)
                return result

            result, metrics = training.in_process(trained, used_data, note, force=options.force)
        training.tell()
    _log_metrics(run, metrics)
    return metrics if result is None else result


def _train_in_job(
    config: EdgeConfig, run: Any, spec: TrainingSpec, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Any:
    from edge_tasks.training.hypertune import TrialReport
    from edge_tasks.training.job import deliver, recorded_job

    report = TrialReport(spec.search.metric) if spec.search else None
    if report:
        run.observers.append(report)
    with tempfile.TemporaryDirectory(prefix="edge-training-") as folder, recorded_job(run, config, spec) as note:
        result = function(**{**arguments, _OUTPUT_ARGUMENT: folder})
        note.plots(Path(folder) / PLOTS_FOLDER)
        metrics = deliver(config, spec, Path(folder))
        note(metrics=metrics)
    _log_metrics(run, metrics)
    if report:
        report.saved = metrics
    return result


def _chosen(parameters: Mapping[str, Any], run: Any) -> dict[str, Any]:
    """Return the parameters that say what is trained: not where it is, and not the seed that Sacred drew itself."""
    drawn = set() if "seed" in run.config_modifications.modified else {"seed"}
    return {name: value for name, value in parameters.items() if name not in drawn | {"is_vertex"}}


def _assigned(run: Any) -> list[str]:
    """Return the names of the parameters that the command line, or the caller of `Experiment.run`, gives a value."""
    return [str(name).partition(".")[0] for name in run.config_modifications.modified]


def _log_metrics(run: Any, metrics: Mapping[str, Any]) -> None:
    for name, value in metrics.items():
        run.log_scalar(name, value)


def _plain(value: Any) -> Any:
    """Return Sacred's read-only containers as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
