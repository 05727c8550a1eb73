"""Reading a command line before invoke's parser does.

The parser knows no optional positional argument and answers a slip with one line that helps nobody. What is read here
is written again so that it cannot misunderstand it: every value behind its flag. What cannot be read is a UsageError
with the name that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from edge_tasks.domain.names import nearest, plain
from edge_tasks.errors import UsageError

# What other tools call what is called otherwise here, as a command that helps.
_OTHERS_WORDS = {
    "help": "--help",
    "list": "--list",
    "ls": "--list",
    "tasks": "--list",
    "version": "--version",
    "start": "local.start",
    "stop": "local.stop",
    "status": "local.status",
    "train": "model.train",
    "fit": "model.train",
    "deploy": "model.deploy",
    "serve": "model.deploy",
    "predict": "model.predict",
    "rollback": "model.rollback",
    "tune": "model.tune",
    "runs": "experiments.list",
    "ui": "dashboard",
    "board": "dashboard",
    "models": "model.list",
    "setup": "init",
    "check": "doctor",
    "test": "doctor",
    "destroy": "teardown",
    "unlock": "state.unlock",
}
# The same for flags.
_OTHERS_FLAGS = {
    "--model-name": "--name",
    "--percent": "--traffic",
    "--split": "--traffic",
    "--format": "--json",
    "--param": "--set",
    "--params": "--set",
    "--tail": "--follow",
}
# The task that shows what an argument may be.
_SHOWN_BY = {
    "run_id": "experiments.list",
    "run_ids": "experiments.list",
    "first": "experiments.list",
    "others": "experiments.list",
    "job": "jobs.list",
    "pipeline_job": "pipeline.list",
    "key": "config.show",
}
# DVC's commands are typed as they are.
_OF_DVC = {"repro", "pull", "push", "add", "dvc", "checkout"}
# Some tasks take the model by one of these flags, some by the other: each understands both.
_MODEL_FLAGS = {"--name": "--model", "--model": "--name"}
# What word processors make of `--`.
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"

# An argument with one of these names may be given without its flag.
_OPTIONAL_POSITIONALS = ("name", "code")


@dataclass(frozen=True)
class Line:
    """What was typed: words for invoke's parser, each value behind its flag; or the task that --help is asked for."""

    tokens: list[str]
    about: str | None = None


@dataclass
class _Call:
    """One task with what was typed after it, as far as it has been read."""

    context: ParserContext
    words: list[str] = field(default_factory=list)  # values without a flag
    flags: list[str] = field(default_factory=list)  # flags with their values, as typed
    given: set[str] = field(default_factory=set)  # names of arguments that have a value by their flag
    about: bool = False  # it is only asked about, by --help

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.context.name)

    @property
    def missing(self) -> list[Argument]:
        """The arguments that must be given and were not, by a flag."""
        return [argument for argument in self.context.positional_args if argument.name not in self.given]


def read(
    tokens: Sequence[str], contexts: Mapping[str, ParserContext], core: ParserContext, program: str = "invoke"
) -> Line:
    """Read `tokens`, what follows the program's own flags.

    `contexts` are the tasks by their names, `core` the program's own flags. Raises UsageError.
    """
    calls: list[_Call] = []
    words = iter(tokens)
    for token in words:
        if token.startswith(("-", *_DASHES)) and len(token) > 1:
            if not calls:
                raise _flag_before_task(token, list(words), contexts, core, program)
            _read_flag(token, words, calls[-1], core, program)
        elif token in contexts and (not calls or len(calls[-1].words) >= len(calls[-1].missing)):
            calls.append(_Call(contexts[token]))
        elif not calls:
            raise _unknown_task(token, list(words), contexts, program)
        else:
            calls[-1].words.append(token)
    if about := next((call.name for call in calls if call.about), None):
        return Line([], about)
    return Line([token for call in calls for token in _written(call, contexts, program)])


def by_name(contexts: Mapping[str, ParserContext], name: str, program: str = "invoke") -> ParserContext:
    """Return the task called `name`. Raises UsageError that names the nearest one."""
    if name not in contexts:
        raise _unknown_task(name, [], contexts, program)
    return contexts[name]


def check_group(contexts: Mapping[str, ParserContext], name: str, program: str = "invoke") -> None:
    """Raise UsageError unless there are tasks called `name.SOMETHING`."""
    groups = sorted({task.partition(".")[0] for task in contexts if "." in task})
    if name not in groups:
        near = nearest(name, groups)
        hint = f"did you mean `{program} --list {near}`?" if near else f"there are {', '.join(groups)}"
        raise UsageError(f"there is no group of tasks `{name}`", hint)


def optional_positional(call: ParserContext) -> Argument | None:
    """Return the argument of a task that may be given without its flag, or left out; None when it has none."""
    arguments = [call.args[name] for name in _OPTIONAL_POSITIONALS if name in call.args]
    return next((argument for argument in arguments if not argument.positional), None)


def argument_of(call: ParserContext, flag: str) -> Argument | None:
    """Return the argument of a task that `flag` gives a value; None when it has no such flag."""
    if flag in call.inverse_flags:
        flag = call.inverse_flags[flag]
    if flag not in call.flags:  # the Lexicon's `get` knows no short flags
        return _model_by_other_flag(call, flag)
    found: Argument = call.flags[flag]
    return found


def _model_by_other_flag(call: ParserContext, flag: str) -> Argument | None:
    """Return the argument that is the model of a task which calls its flag otherwise; a name may be another thing's."""
    found: Argument | None = call.flags.get(_MODEL_FLAGS.get(flag))
    return found if found is not None and re.search(r"\bmodel\b", str(found.help)) else None


def _read_flag(token: str, words: Iterator[str], call: _Call, core: ParserContext, program: str) -> None:
    """Read a flag of `call`, with its value."""
    flag, _, value = token.partition("=")
    if flag.startswith(tuple(_DASHES)):
        raise _unknown_flag(token, call, program)
    if not flag.startswith("--") and len(flag) > 2:
        _read_short_flags(token, words, call, core, program)
        return
    own = argument_of(call.context, flag)
    argument = own or argument_of(core, flag)
    if argument is None:
        raise _unknown_flag(token, call, program)
    call.about |= own is None and argument.name == "help"
    call.given.add(str(argument.name))
    if flag in _MODEL_FLAGS:
        token = token.replace(flag, _flag(argument), 1)
    call.flags.append(token)
    if "=" in token:
        if not argument.takes_value:
            raise UsageError(f"`{flag}` takes no value, such as `{value}`", f"{program} {call.name} {flag}")
        return
    if argument.takes_value and not argument.optional:
        following = next(words, None)
        if following is None or argument_of(call.context, following.partition("=")[0]) is not None:
            raise UsageError(
                f"`{flag}` of `{call.name}` needs a value: {argument.help or 'text'}",
                f"{program} {call.name} {flag} {_example(argument)}",
            )
        call.flags.append(following)


def _read_short_flags(token: str, words: Iterator[str], call: _Call, core: ParserContext, program: str) -> None:
    """Read `-yd` as `-y -d` and `-t10` as `-t 10`; a long flag with one dash is told."""
    if argument_of(call.context, f"-{token.partition('=')[0]}") is not None:
        raise UsageError(f"`{token}` has one dash too few", f"{program} {call.name} -{token}")
    for number, letter in enumerate(token[1:], 1):
        argument = argument_of(call.context, f"-{letter}") or argument_of(core, f"-{letter}")
        if argument is None:
            raise _unknown_flag(token, call, program)
        rest = token[number + 1 :]
        _read_flag(f"-{letter}", iter([rest.removeprefix("=")]) if rest else words, call, core, program)
        if argument.takes_value:
            return


def _written(call: _Call, contexts: Mapping[str, ParserContext], program: str) -> Iterator[str]:
    """Yield a call as invoke's parser reads it. Raises UsageError for a word too many or too few."""
    words = list(call.words)
    optional = optional_positional(call.context)
    yield call.name
    if optional is not None and _is_name_among_flags(call, optional):
        yield from (_flag(optional), words.pop(0))
    for argument in call.missing:
        if not words:
            typed = f"{program} {call.name} {' '.join(_capitals(each) for each in call.missing)}"
            shown = _SHOWN_BY.get(str(argument.name))
            raise UsageError(
                f"`{call.name}` needs {_capitals(argument)}: {argument.help or 'text'}",
                f"{typed}; `{program} {shown}` shows what there is" if shown else typed,
            )
        yield from (_flag(argument), words.pop(0))
    if words and optional is not None:
        if optional.name in call.given or len(words) > 1:
            raise _word_too_many(words[-1], call, contexts, program)
        if hint := _value_by_its_look(words[0], call, program):
            raise UsageError(f"`{words[0]}` cannot be a name", hint)
        yield from (_flag(optional), words.pop(0))
    if words:
        raise _word_too_many(words[0], call, contexts, program)
    yield from call.flags


def _is_name_among_flags(call: _Call, optional: Argument) -> bool:
    """Whether the one word is the model's name, since what else must be given comes by flags, but one was forgotten."""
    by_flag = {argument.name for argument in call.context.positional_args} & call.given
    return (
        bool(by_flag and call.missing)
        and len(call.words) == 1
        and optional.name not in call.given
        and not re.search(r"[./]", call.words[0])
    )


def _word_too_many(word: str, call: _Call, contexts: Mapping[str, ParserContext], program: str) -> UsageError:
    fact = f"`{call.name}` cannot take `{word}`"
    if hint := _value_by_its_look(word, call, program) or _value_by_the_help(word, call, program):
        return UsageError(fact, hint)
    if "." in word and (near := nearest(word, contexts)):
        return UsageError(f"there is no task `{word}`", f"did you mean `{program} {near}`?")
    optional = optional_positional(call.context)
    if optional is not None and (optional.name in call.given or len(call.words) > 1):
        return UsageError(f"{fact}: it takes one {optional.name}", f"{program} {call.name} {_capitals(optional)}")
    return UsageError(fact, f"{program} {call.name} --help shows what it takes")


def _value_by_its_look(word: str, call: _Call, program: str) -> str | None:
    """Return the command that gives `word` to the flag that it must be for, as no name looks like that."""
    flags = call.context.args
    base = f"{program} {call.name}"
    key, equals, value = word.partition("=")
    if equals and key in flags:
        return f"{base} --{key} {value}"
    if "set" in flags and (equals or word == "with"):
        return f"{base} --set {word if equals else 'NAME=VALUE'}"
    if re.search(r"[<>=]", word) and "where" in flags:
        return f'{base} --where "{word}"'
    if re.search(r"\.(json|jsonl|csv)$", word):
        for name in ("file", "input"):
            if name in flags and name not in call.given:
                return f"{base} --{name} {word}"
    return None


def _value_by_the_help(word: str, call: _Call, program: str) -> str | None:
    """Return the command that gives `word` to the flag whose help names it, such as gcp."""
    base = f"{program} {call.name}"
    for argument in call.context.args.values():
        if (
            not argument.positional
            and argument.takes_value
            and re.search(rf"\b{re.escape(word)}\b", str(argument.help))
        ):
            return f"{base} {_flag(argument)} {word}"
    return None


def _unknown_flag(token: str, call: _Call, program: str) -> UsageError:
    flag = token.partition("=")[0]
    known = [name for name in call.context.flag_names() if name.startswith("--")]
    if flag.startswith(tuple(_DASHES)):
        flag = f"--{flag.lstrip(_DASHES + '-')}"
    near = nearest(flag, known) if len(flag) > 2 else None
    if flag in ("-?", "--usage"):
        near = "--help"
    if (meant := _OTHERS_FLAGS.get(flag)) in known:
        near = meant
    fact = f"`{call.name}` has no flag `{token.partition('=')[0]}`"
    if near:
        return UsageError(fact, f"did you mean `{program} {call.name} {near}`?")
    return UsageError(fact, f"{program} {call.name} --help lists its flags")


def _flag_before_task(
    token: str, rest: list[str], contexts: Mapping[str, ParserContext], core: ParserContext, program: str
) -> UsageError:
    flag = token.partition("=")[0]
    if flag.startswith(tuple(_DASHES)):
        return UsageError(f"`{flag}` begins with another dash", f"{program} --{flag.lstrip(_DASHES + '-')}")
    task = next((word for word in rest if word in contexts), None)
    if task and argument_of(contexts[task], flag) is not None:
        return UsageError(
            f"`{flag}` stands before the task that it is for",
            f"{program} {task} {' '.join([token, *_until(rest, task)])}",
        )
    near = nearest(flag, [name for name in core.flag_names() if name.startswith("--")])
    if near:
        return UsageError(f"there is no flag `{flag}`", f"did you mean `{program} {near}`?")
    return UsageError(f"there is no flag `{flag}`", f"{program} --help")


def _until(words: list[str], end: str) -> list[str]:
    return words[: words.index(end)]


def _unknown_task(word: str, rest: list[str], contexts: Mapping[str, ParserContext], program: str) -> UsageError:
    groups = {name.partition(".")[0] for name in contexts if "." in name}
    group = word.strip(".").lower()
    if group in groups:
        joined = f"{group}.{rest[0]}" if rest else ""
        if joined in contexts:
            return UsageError(f"a task and its group are one word, with a dot: `{joined}`", f"{program} {joined}")
        if rest and not rest[0].startswith("-") and (near := nearest(joined, _of_group(group, contexts))):
            return UsageError(f"there is no task `{joined}`", f"did you mean `{program} {near}`?")
        if group not in _OF_DVC:
            return UsageError(f"`{group}` is a group of tasks", f"{program} --list {group}")
    last = word.rpartition(".")[2].lower()
    if last in _OF_DVC and word not in contexts:
        command = " ".join(["dvc", *([last] if last != "dvc" else []), *rest])
        return UsageError(f"there is no task `{word}`: DVC's commands are typed as they are", command)
    if last in _OTHERS_WORDS and "." not in word:
        return UsageError(f"there is no task `{word}`", _other(last, rest, contexts, program))
    same = [name for name in contexts if plain(name.rpartition(".")[2]) == plain(word)]
    if same:
        return UsageError(
            f"there is no task `{word}`", f"did you mean {_or([f'`{program} {name}`' for name in same])}?"
        )
    near = nearest(word, contexts) or nearest(last, {name.rpartition(".")[2] for name in contexts})
    found = next((name for name in contexts if near in (name, name.rpartition(".")[2])), None) if near else None
    if found:
        return UsageError(f"there is no task `{word}`", f"did you mean `{program} {found}`?")
    return UsageError(f"there is no task `{word}`", f"{program} --list shows all tasks")


def _other(word: str, rest: list[str], contexts: Mapping[str, ParserContext], program: str) -> str:
    """Return the hint for a word of other tools."""
    meant = _OTHERS_WORDS[word]
    if meant == "--help" and rest and rest[0] in contexts:
        return f"{program} {rest[0]} --help"
    return f"did you mean `{program} {meant}`?"


def _of_group(group: str, contexts: Mapping[str, ParserContext]) -> list[str]:
    return [name for name in contexts if name.startswith(f"{group}.")]


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _flag(argument: Argument) -> str:
    return f"--{str(argument.name).strip('_').replace('_', '-')}"


def _capitals(argument: Argument) -> str:
    return _flag(argument)[2:].upper()


def _example(argument: Argument) -> str:
    return "10" if argument.kind in (int, float) else _capitals(argument)
