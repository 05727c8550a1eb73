"""Expressions of terms, joined by signs that bind more or less, negated and in parentheses.

Each language has tokens and terms of its own: the filters of lists, those of logs, the conditions of pipelines.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

Meaning = TypeVar("Meaning")


class Token(NamedTuple):
    """A word of a language; `kind` is the name of its group in the language's TOKEN."""

    kind: str
    text: str


class Parser(ABC, Generic[Meaning]):
    """Reads one text. What a term is, and what joined ones mean, a language says by its own methods."""

    # Each kind of token as a named group; white space before one belongs to the match.
    TOKEN: ClassVar[re.Pattern[str]]
    # Signs that join terms: those that bind least first, and in one place those that bind alike.
    JOINS: ClassVar[tuple[tuple[str, ...], ...]]
    NOT: ClassVar[tuple[str, ...]]
    # What two terms side by side mean; empty where they are an error.
    SIDE_BY_SIDE: ClassVar[str] = ""
    # How kinds of tokens are called in errors.
    NAMES: ClassVar[Mapping[str, str]] = {}
    MOST_LEVELS: ClassVar[int] = 50

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = self._read(text.rstrip())
        self._position = 0
        self._level = 0

    @abstractmethod
    def term(self) -> Meaning:
        """Read what is neither joined, negated nor in parentheses."""

    @abstractmethod
    def joined(self, signs: Sequence[str], parts: Sequence[Meaning]) -> Meaning:
        """Return what two or more parts mean together; `signs` stand between them, and bind alike."""

    @abstractmethod
    def negated(self, part: Meaning) -> Meaning:
        """Return the contrary of a part."""

    @abstractmethod
    def error(self, problem: str) -> Exception:
        """Return the error that a text is not of this language."""

    def whole(self) -> Meaning:
        """Read all of the text."""
        found = self.expression()
        if self._position < len(self._tokens):
            raise self.error(f"unexpected {self._tokens[self._position].text!r}")
        return found

    def expression(self, least: int = 0) -> Meaning:
        """Read an expression up to a sign that binds less than those at `least` in JOINS."""
        found = self._one()
        for level in reversed(range(least, len(self.JOINS))):
            signs, parts = [], [found]
            while sign := self._join(level):
                signs.append(sign)
                parts.append(self.expression(level + 1))
            if signs:
                found = self.joined(signs, parts)
        return found

    def is_next(self, *kinds: str) -> bool:
        """Whether there is another token, of one of these kinds."""
        return self._position < len(self._tokens) and self._tokens[self._position].kind in kinds

    def next(self, *kinds: str) -> Token:
        """Return the next token, which must be of one of these kinds."""
        if not self.is_next(*kinds):
            found = self._tokens[self._position].text if self._position < len(self._tokens) else "its end"
            raise self.error(f"{self.NAMES.get(kinds[0], kinds[0])} is missing at {found}")
        self._position += 1
        return self._tokens[self._position - 1]

    def take(self, *texts: str) -> str:
        """Return the next token if it is one of these, and go past it; else an empty text."""
        found = "".join(token.text for token in self._tokens[self._position : self._position + 1])
        if found not in texts:
            return ""
        self._position += 1
        return found

    def take_start(self, kind: str, start: str) -> bool:
        """Go past the start of the next token, if it is of this kind and begins so; say whether it does."""
        if not self.is_next(kind) or not self._tokens[self._position].text.startswith(start):
            return False
        rest = self._tokens[self._position].text.removeprefix(start)
        self._tokens[self._position : self._position + 1] = [Token(kind, rest)] if rest else []
        return True

    def expect(self, text: str) -> None:
        """Go past a token that must be there."""
        if not self.take(text):
            raise self.error(f"{text!r} is missing")

    def _one(self) -> Meaning:
        self._level += 1
        if self._level > self.MOST_LEVELS:
            raise self.error("it is nested too deeply")
        if self.take_not():
            found = self.negated(self._one())
        elif self.take("("):
            found = self.expression()
            self.expect(")")
        else:
            found = self.term()
        self._level -= 1
        return found

    def take_not(self) -> bool:
        """Go past a sign that negates what follows; say whether there was one."""
        return bool(self.take(*self.NOT))

    def _join(self, level: int) -> str:
        sign = self.take(*self.JOINS[level])
        if sign or self.SIDE_BY_SIDE not in self.JOINS[level] or self._position == len(self._tokens):
            return sign
        others = [")", *(sign for signs in self.JOINS for sign in signs)]
        return "" if self._tokens[self._position].text in others else self.SIDE_BY_SIDE

    def _read(self, text: str) -> list[Token]:
        found, position = [], 0
        while position < len(text):
            match = self.TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self.error(f"cannot be read from {text[position:].strip()[:20]!r}")
            found.append(Token(match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return found
