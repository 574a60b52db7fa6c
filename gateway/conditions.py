"""Conditions on the payload of an event, as in `temperature > 30 and status.door == "open"`. Pure.

Nothing of it is run as code.

    condition   := alternative ("or" alternative)*
    alternative := factor ("and" factor)*
    factor      := "(" condition ")" | field operator value
    field       := "$" | ["$."] name ("." name)*
    operator    := "==" | "!=" | "<" | "<=" | ">" | ">="
    value       := number | "text" | 'text' | true | false | null

`$` is the whole payload, a number in a field counts the elements of a list from 0, and a
name with other characters than letters, digits, `_` and `-` stands in backquotes. A comparison of a field that is not
there is false, also with `!=`; so is `<` of values that have no order.
"""

from __future__ import annotations

import json
import operator
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_CHARACTERS_MAX = 1000
_DEPTH_MAX = 32
"""Of parentheses within each other."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<operator>==|!=|<=|>=|<|>)
    | (?P<bracket>[()])
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<word>(?:[^\W\d][\w-]*|\$|`[^`]+`)(?:\.(?:[\w-]+|`[^`]+`))*)
    )""",
    re.VERBOSE,
)
_PART = re.compile(r"`([^`]+)`|([^.`]+)")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {"true": True, "false": False, "null": None}
_MISSING = object()
_EXAMPLE = 'write for example: temperature > 30 and status.door == "open"'


class Condition:
    """What a payload has to say.

    Args:
        text: the condition.

    Raises:
        ValueError: it cannot be understood; says what to write.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > TEXT_CHARACTERS_MAX:
            raise ValueError(f"a condition may have {TEXT_CHARACTERS_MAX} characters, this one has {len(text)}")
        self._holds = _Parser(text).parse()

    def holds(self, document: Any) -> bool:
        """Whether what a payload says fulfils it: numbers, text, lists and so on, as JSON has them."""
        return self._holds(document)


def json_of(_topic: str, payload: bytes) -> Any:
    """What a payload says, read as JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(payload.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


class _Token(NamedTuple):
    kind: str
    text: str


class _Parser:
    """Reads a condition from left to right, each rule of the grammar a method."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def parse(self) -> Callable[[Any], bool]:
        holds = self._condition()
        if self._at < len(self._tokens):
            raise ValueError(f"before {self._shown()} there must be 'and' or 'or'; {_EXAMPLE}")
        return holds

    def _condition(self) -> Callable[[Any], bool]:
        found = [self._alternative()]
        while self._take("word", "or"):
            found.append(self._alternative())
        return found[0] if len(found) == 1 else lambda document: any(holds(document) for holds in found)

    def _alternative(self) -> Callable[[Any], bool]:
        found = [self._factor()]
        while self._take("word", "and"):
            found.append(self._factor())
        return found[0] if len(found) == 1 else lambda document: all(holds(document) for holds in found)

    def _factor(self) -> Callable[[Any], bool]:
        if not self._take("bracket", "("):
            return self._comparison()
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise ValueError(f"parentheses within each other may be {_DEPTH_MAX} deep")
        holds = self._condition()
        self._depth -= 1
        if not self._take("bracket", ")"):
            raise ValueError(f"a ')' is missing before {self._shown()}")
        return holds

    def _comparison(self) -> Callable[[Any], bool]:
        field = self._next("word")
        if field is None or field.lower() in {"and", "or", *_WORDS}:
            self._at -= field is not None
            raise ValueError(f"a field is missing at {self._shown()}; {_EXAMPLE}")
        compares = self._next("operator")
        if compares is None:
            raise ValueError(f"after {field} there must be one of == != < <= > >=, and not {self._shown()}; {_EXAMPLE}")
        value = self._value(f"{field} {compares}")
        path = _path(field)
        if compares in _ORDERS:
            return _ordered(path, _ORDERS[compares], value)
        return _equal(path, value) if compares == "==" else _unequal(path, value)

    def _value(self, before: str) -> Any:
        for kind in ("number", "text", "word"):
            text = self._next(kind)
            if text is None:
                continue
            if kind == "number":
                return json.loads(text)
            if kind == "text":
                return _unquoted(text)
            if text in _WORDS:
                return _WORDS[text]
            raise ValueError(f'after {before} there must be a value; text stands in quotes: {before} "{text}"')
        raise ValueError(f'after {before} there must be a number, a "text", true, false or null, not {self._shown()}')

    def _next(self, kind: str) -> str | None:
        if self._at == len(self._tokens) or self._tokens[self._at].kind != kind:
            return None
        self._at += 1
        return self._tokens[self._at - 1].text

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == kind and token.text.lower() == text:
                self._at += 1
                return True
        return False

    def _shown(self) -> str:
        return repr(self._tokens[self._at].text) if self._at < len(self._tokens) else "the end"


def _tokens(text: str) -> list[_Token]:
    found = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:end].lstrip()
            if rest.startswith("="):
                raise ValueError(f"{rest[:20]!r}: to compare, write ==")
            if rest[0] in "\"'`":
                raise ValueError(f"{rest[:20]!r}: the closing {rest[0]} is missing")
            raise ValueError(f"{rest[:20]!r} cannot be understood; {_EXAMPLE}")
        found.append(_Token(str(match.lastgroup), match[0].strip()))
        at = match.end()
    return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _path(field: str) -> tuple[str, ...]:
    parts = tuple(quoted or plain for quoted, plain in _PART.findall(field))
    return parts[1:] if parts[0] == "$" and not field.startswith("`") else parts


def _at(path: tuple[str, ...], document: Any) -> Any:
    """What a field of the document holds; `_MISSING` if it has no such field."""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, _MISSING)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def _kind(value: Any) -> str:
    """Values of different kinds are never equal, though `True == 1` in Python."""
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _equal(path: tuple[str, ...], value: Any) -> Callable[[Any], bool]:
    def holds(document: Any) -> bool:
        found = _at(path, document)
        return _kind(found) == _kind(value) and bool(found == value)

    return holds


def _unequal(path: tuple[str, ...], value: Any) -> Callable[[Any], bool]:
    def holds(document: Any) -> bool:
        found = _at(path, document)
        return found is not _MISSING and not (_kind(found) == _kind(value) and bool(found == value))

    return holds


def _ordered(path: tuple[str, ...], order: Callable[[Any, Any], bool], value: Any) -> Callable[[Any], bool]:
    if _kind(value) not in {"number", "str"}:
        raise ValueError(f"{json.dumps(value)} has no order; compare it with == or !=")

    def holds(document: Any) -> bool:
        found = _at(path, document)
        return _kind(found) == _kind(value) and order(found, value)

    return holds
