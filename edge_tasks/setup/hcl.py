"""Terraform's language, as far as we write it: blocks, attributes and comments, laid out as `terraform fmt` does.

https://developer.hashicorp.com/terraform/language/syntax/configuration
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Expression:
    """Text that stands as it is: a reference, or a call of a function."""

    text: str


@dataclass(frozen=True)
class Comment:
    """A line for people."""

    text: str


Value: TypeAlias = "str | int | bool | Expression | Sequence[Value] | Mapping[str, Value]"


@dataclass(frozen=True)
class Block:
    """A block: its type and labels, and what it holds. A mapping's items are its attributes."""

    kind: str
    labels: tuple[str, ...] = ()
    body: tuple[Block | Comment | Mapping[str, Value], ...] = ()


# A text between these is a reference, so that values which are made of texts can hold one.
_OPEN, _CLOSE = "\u27e6", "\u27e7"
_REFERENCE = re.compile(f"{_OPEN}([^{_CLOSE}]+){_CLOSE}")


def reference(address: str) -> str:
    """Return a text that stands for the value at `address`, also as a part of a longer text."""
    return f"{_OPEN}{address}{_CLOSE}"


def render(parts: Sequence[Block | Comment]) -> str:
    """Return the text of a file."""
    texts = ["\n".join(_comment(part.text, "")) if isinstance(part, Comment) else _block(part, "") for part in parts]
    return "\n".join(text if text.endswith("\n") else f"{text}\n" for text in texts)


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{indent}# {line}".rstrip()


def _block(block: Block, indent: str) -> str:
    head = " ".join([block.kind, *(_quoted(label) for label in block.labels)])
    if not block.body:
        return f"{indent}{head} {{}}\n"
    inner = indent + "  "
    chunks: list[list[str]] = []
    glued = False
    for part in block.body:
        if isinstance(part, Comment):
            lines, glue = list(_comment(part.text, inner)), True
        elif isinstance(part, Block):
            lines, glue = [_block(part, inner).rstrip("\n")], False
        else:
            for group in _attributes(part, inner):
                if glued:
                    chunks[-1] += group
                else:
                    chunks.append(group)
                glued = False
            continue
        if glued:
            chunks[-1] += lines
        else:
            chunks.append(lines)
        glued = glue
    body = "\n\n".join("\n".join(chunk) for chunk in chunks)
    return f"{indent}{head} {{\n{body}\n{indent}}}\n"


def _attributes(attributes: Mapping[str, Value], indent: str) -> Iterator[list[str]]:
    """Yield the lines of attributes: those of one line together and aligned, each of several lines by itself."""
    rendered = {name: _value(value, indent) for name, value in attributes.items()}
    short = {name: text for name, text in rendered.items() if "\n" not in text}
    if short:
        yield _aligned(short, indent)
    for name, text in rendered.items():
        if name not in short:
            yield f"{indent}{name} = {text}".split("\n")


def _aligned(items: Mapping[str, str], indent: str) -> list[str]:
    width = max(len(name) for name in items)
    return [f"{indent}{name.ljust(width)} = {text}" for name, text in items.items()]


def _value(value: Value, indent: str) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    inner = indent + "  "
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        items = {_key(name): _value(item, inner) for name, item in value.items()}
        return "{\n" + "\n".join(_aligned(items, inner)) + f"\n{indent}}}"
    items_ = [_value(item, inner) for item in value]
    if len(items_) < 2 and all("\n" not in item for item in items_):
        return f"[{', '.join(items_)}]"
    return "[\n" + "".join(f"{inner}{item},\n" for item in items_) + f"{indent}]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) else _quoted(name)


def _text(text: str) -> str:
    """Return a text with what it refers to; one reference alone needs no quotes."""
    alone = _REFERENCE.fullmatch(text)
    if alone:
        return alone[1]
    parts = _REFERENCE.split(text)
    return '"' + "".join(f"${{{part}}}" if number % 2 else _escaped(part) for number, part in enumerate(parts)) + '"'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Escape a text: quotes, line ends, and what would begin a template."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return re.sub(r"([$%])(?=\{)", r"\1\1", text)
