"""What the command line of `edge` and `invoke` is to people: screens, completion, and what is said of slips.

`edge` is this program. `invoke` has its own, which reads tasks.py; there `help_invoke` lets it continue as this one.
What invoke decides before it reads tasks.py (`invoke --help`, `--version`, a folder without tasks.py) stays its own.
"""

from __future__ import annotations

import os
import sys

from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser, ParseResult
from invoke.program import Program

from edge_tasks.errors import EdgeError, UsageError
from edge_tasks.tasks import _command_line, _completion, _screens
from edge_tasks.tasks._task import told

# Those of invoke's own flags that help here; the others are about tasks that run shell commands.
_FLAGS = ("--help", "--list", "--list-depth", "--list-format", "--print-completion-script", "--version", "--debug")


class EdgeProgram(Program):
    """invoke's program, with our words."""

    _parser: Parser | None = None

    @property
    def command(self) -> str:
        """What people type: `edge` or `invoke`."""
        return "edge" if self.binary == "edge" else "invoke"

    def _make_parser(self) -> Parser:
        """Return the parser, which is made once: a task of invoke gives the help of its flags away only once."""
        if self._parser is None:
            self._parser = super()._make_parser()
        return self._parser

    def parse_tasks(self) -> None:
        """Read the tasks and their flags; a slip is told with the name that was meant, and ends the program."""
        if self.args.complete.value:  # what stands before the cursor need not make sense yet
            self.parser, self.tasks = self._make_parser(), ParseResult()
            return
        try:
            contexts = {name: context for context in self._make_parser().contexts.values() for name in _names(context)}
            line = _command_line.read(self.core.unparsed, contexts, self.initial_context, self.command)
            self.core.unparsed = line.tokens
            super().parse_tasks()
            if line.about:
                self.args.help.value = line.about
        except EdgeError as error:
            raise told(error) from None
        except ParseError as error:
            raise told(UsageError(str(error), f"{self.command} --list shows all tasks")) from None

    def parse_cleanup(self) -> None:
        """Answer --help, --list and --complete; a reader such as `head` may go away meanwhile."""
        try:
            self._answer()
            super().parse_cleanup()
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=1) from None

    def _answer(self) -> None:
        """Print what was asked for about the command line itself, and end."""
        contexts = self.parser.contexts
        if self.args.complete.value:
            words = _completion.candidates(self.core.remainder, contexts, self.initial_context)
            sys.stdout.write("".join(f"{word}\n" for word in words))
            sys.stdout.flush()
            raise Exit
        asked, group = self.args.help.value, self.args.list.value
        try:
            if isinstance(asked, str):
                _command_line.by_name(contexts, asked, self.command)
            if isinstance(group, str) and group not in self.collection.collections:
                _command_line.check_group(contexts, group, self.command)
        except EdgeError as error:
            raise told(error) from None

    def no_tasks_given(self) -> None:
        """Show where one is and what to type first."""
        sys.stdout.write(f"{_screens.start(self.command)}\n")
        sys.stdout.flush()
        raise Exit

    def print_help(self) -> None:
        """Show the start screen, then the program's own flags."""
        sys.stdout.write(
            f"{_screens.start(self.command)}\n\nUsage: {self.command} [FLAGS] TASK [NAME] [FLAGS OF THE TASK]\n\n"
        )
        self.print_columns([self.initial_context.help_for(flag) for flag in _FLAGS])

    def print_task_help(self, name: str) -> None:
        """Show one task in full."""
        context = self.parser.contexts[name]
        sys.stdout.write(f"{_screens.task_help(context, self.collection[name], self.command)}\n")

    def list_flat(self) -> None:
        """Show the tasks in groups, all or those of one collection; to a depth as invoke does."""
        if self.list_depth:
            super().list_flat()
        else:
            sys.stdout.write(f"{_screens.task_list(self.collection, self.list_root or '')}\n")


def _names(context: object) -> list[str]:
    return [str(getattr(context, "name", "")), *getattr(context, "aliases", ())]


def help_invoke() -> None:
    """Let `invoke`, which is reading a tasks.py just now, continue as EdgeProgram.

    It offers no hook for what it says of a slip, and none for completion. Other programs made of invoke, as fab is,
    are left alone, and so is an invoke that somebody changed.
    """
    running = getattr(sys.modules.get("invoke.main"), "program", None)
    if type(running) is Program:
        running.__class__ = EdgeProgram
