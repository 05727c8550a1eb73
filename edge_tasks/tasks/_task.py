"""The `@task` of this project: invoke's, with errors that users can cause shown as two lines."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task
from invoke.tasks import task as invoke_task

from edge_tasks.errors import EdgeError, disk_refusal
from edge_tasks.tools.signals import take_sigterm_like_ctrl_c

_Body = TypeVar("_Body", bound=Callable[..., Any])

LOCK_TIMEOUT_HELP = "seconds to wait while somebody else changes the shared state (default 0)"
# Flags that had another name before 0.2, until when the old one is understood, too.
_OLD_NAMES = {"lock_timeout": "wait", "async_": "no_wait"}

AS_JSON = {"json": "print it as JSON"}
NAME_HELP = "the model; not needed when there is only one"


def task(
    *,
    help: dict[str, str] | None = None,  # noqa: A002
    name: str | None = None,
    iterable: list[str] | None = None,
) -> Callable[[_Body], Any]:
    """Make a task of a function whose first line of documentation is its line in `invoke --list`.

    An argument that is `iterable` may be given several times.
    An EdgeError (or a disk that is full or may not be written) ends the task with `error:`, `hint:` and exit status 1,
    Ctrl-C with status 130.
    """

    def decorate(body: _Body) -> Any:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            take_sigterm_like_ctrl_c()
            try:
                result = body(*args, **_with_new_names(kwargs))
                sys.stdout.flush()
            except EdgeError as error:
                raise told(error) from None
            except KeyboardInterrupt:
                sys.stderr.write("interrupted\n")
                raise Exit(code=130) from None
            except BrokenPipeError:  # `invoke ... | head`: the reader has what it wanted
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise Exit(code=1) from None
            except OSError as error:
                if (problem := disk_refusal(error)) is None:
                    raise
                raise told(problem) from None
            return result

        return invoke_task(klass=_Task, name=name, help=help or {}, iterable=iterable)(cast("_Body", guarded))

    return decorate


def most_rows(limit: int, default: int, *, for_programs: bool) -> int | None:
    """Return how many rows `--limit` asks for, None for all: 0 is all, and without it programs get all of them too."""
    if limit < 0:
        limit = 0 if for_programs else default
    return limit or None


class _Task(Task[Any]):
    """A task whose arguments say what is wrong with them; invoke shows a traceback for `--limit x`."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        texts = dict(self.help)  # invoke takes each one out, so that the second who asks would get none
        of_invoke = super().get_arguments(ignore_unknown_help)
        self.help = texts
        arguments: list[Argument] = [
            _Argument(
                names=argument.names,
                kind=argument.kind,
                default=argument.default,
                help=argument.help,
                positional=argument.positional,
                optional=argument.optional,
                incrementable=argument.incrementable,
                attr_name=argument.attr_name,
            )
            for argument in of_invoke
        ]
        for argument in arguments[:]:
            if old := _OLD_NAMES.get(str(argument.name)):
                default = False if argument.kind is bool else None
                help_text = f"the old name of {_flag(str(argument.name))}, until 0.2"
                arguments.append(_Argument(names=(old,), kind=argument.kind, default=default, help=help_text))
        return arguments


class _Argument(Argument):
    def set_value(self, value: Any, cast: bool = True) -> None:
        try:
            super().set_value(value, cast)
        except ValueError:
            name = self.names[0]
            raise told(EdgeError(f"`{value}` is not a number", f"such as --{name} 10")) from None


def _with_new_names(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a task with those that were given by an old name; a note says the new one."""
    from edge_tasks.console import print_note

    found = dict(given)
    for new, old in _OLD_NAMES.items():
        value = found.pop(old, None)
        if value:
            found[new] = value
            print_note(f"{_flag(old)} is called {_flag(new)} now; the old name goes with 0.2")
    return found


def _flag(parameter: str) -> str:
    return f"--{parameter.strip('_').replace('_', '-')}"


def told(error: EdgeError) -> Exit:
    """Print `error`; return what ends invoke."""
    from edge_tasks.console import print_error

    print_error(error)
    return Exit(code=1)
