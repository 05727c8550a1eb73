"""What somebody wants of one call of train.py, in addition to the model's parameters: `with force=True`.

No train.py declares these; the wrapper adds them to its arguments, so that Sacred knows them. Where a command line is
fixed, as that of a DVC stage is, environment variables say the same.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.errors import ConfigError
from edge_tasks.tools.signals import on_interrupt

FORCE_VARIABLE = "EDGE_FORCE"
DRY_RUN_VARIABLE = "EDGE_DRY_RUN"
CHECKS_VARIABLE = "EDGE_CHECKS"
PUBLISH_VARIABLE = "EDGE_PUBLISH"

_NAMES = ("force", "on_interrupt", "dry_run", "checks", "publish")
# Sacred warns of each entry of a config that @ex.config does not have; of these it need not.
_OF_OPTIONS = frozenset(f'Added new config entry: "{name}"' for name in _NAMES)
_YES, _NO = ("1", "true", "yes"), ("", "0", "false", "no")


@dataclass(frozen=True)
class RunOptions:
    """`force`: train again; `on_interrupt`: what Ctrl-C does to the job; `dry_run`: only tell what would be sent.

    `checks`: refuse code that would fail in a job before it is sent. `publish`: put the results into the model's
    folder; None: unless it is a try, a training by hand with other parameters than those of params.yaml.
    """

    force: bool
    on_interrupt: str
    dry_run: bool
    checks: bool = True
    publish: bool | None = None


def with_options(signature: inspect.Signature) -> inspect.Signature:
    """Return `signature` with an argument for each option that it does not have for its own purpose."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in _NAMES
        if name not in signature.parameters
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *added])


def silence_options() -> None:
    """Suppress Sacred's warnings that the options are new in the config."""
    logging.getLogger().addFilter(_is_of_no_option)


def _is_of_no_option(record: logging.LogRecord) -> bool:
    return record.msg not in _OF_OPTIONS


def take_options(
    arguments: dict[str, Any], signature: inspect.Signature, environ: Mapping[str, str] = os.environ
) -> RunOptions:
    """Take the options out of `arguments`, but for those that `signature` has for its own purpose."""
    given = {name: arguments.pop(name, None) for name in _NAMES if name not in signature.parameters}
    return RunOptions(
        force=_flag(given.get("force"), FORCE_VARIABLE, environ),
        on_interrupt=on_interrupt(given.get("on_interrupt"), environ),
        dry_run=_flag(given.get("dry_run"), DRY_RUN_VARIABLE, environ),
        checks=_flag(given.get("checks"), CHECKS_VARIABLE, environ, otherwise="1"),
        publish=_flag(given.get("publish"), PUBLISH_VARIABLE, environ)
        if given.get("publish") is not None or environ.get(PUBLISH_VARIABLE)
        else None,
    )


def says_dry_run(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether the environment asks each training only to tell what would be sent."""
    return _flag(None, DRY_RUN_VARIABLE, environ)


def without_options(parameters: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return `parameters` without the options, which are not parameters of the model."""
    return {name: value for name, value in parameters.items() if name not in _NAMES or name in signature.parameters}


def _flag(option: Any, variable: str, environ: Mapping[str, str], otherwise: str = "") -> bool:
    if option is not None:
        return bool(option)
    word = environ.get(variable, otherwise).lower()
    if word not in (*_YES, *_NO):
        raise ConfigError(f"the variable {variable} is `{word}`", "use 1 or 0")
    return word in _YES
