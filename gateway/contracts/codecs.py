"""From the bytes of a payload to the value in it, strictly.

What two readers could take for two things is refused: a key that stands twice in an object, NaN, text that is not
UTF-8, bytes behind the end. So what a contract has judged is what every other program will read. Nothing is nested
deeper than `DEPTH_MAX`, and no number of items or bytes is believed that the payload does not have.
"""

from __future__ import annotations

import math
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import jiter

if TYPE_CHECKING:
    from collections.abc import Callable

Codec: TypeAlias = Literal["json", "number", "text", "cbor", "msgpack", "raw"]

DEPTH_MAX = 200
"""As the parser for JSON has it, which cannot be told otherwise."""
_INTEGERS = range(-(2**63), 2**64)
"""What CBOR and MessagePack write as an integer."""
_NUMBER = re.compile(rb"\s*[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?\s*")
_TIME_TAGS = (0, 1)
_CBOR_ITSELF = 55_799
_OTHER_TAGS = (2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43_000)
"""Those that the library would make objects of: huge numbers, references, regular expressions, addresses."""


def decoder_of(codec: Codec) -> Callable[[bytes], Any]:
    """What makes a value of a payload; it raises ValueError if the payload is none. Loads the library it takes."""
    match codec:
        case "json":
            return _json
        case "number":
            return _number
        case "text":
            return bytes.decode
        case "cbor":
            return _cbor_decoder()
        case "msgpack":
            return _msgpack_decoder()
        case "raw":
            return bytes


def _json(payload: bytes) -> Any:
    """JSON as in RFC 8259."""
    value = jiter.from_json(payload, allow_inf_nan=False)
    # Each key has a colon. If there are as many colons as keys no key was dropped: the quick way to know for most.
    if type(value) is dict and payload.count(58) == len(value):
        return value
    return jiter.from_json(payload, allow_inf_nan=False, catch_duplicate_keys=True)


def _number(payload: bytes) -> float:
    """A decimal number alone, as devices print them: `21.50`, `+5`, `1e3`; white space around it does no harm."""
    found = _NUMBER.fullmatch(payload)
    if found is None:
        raise ValueError("no decimal number")
    if found.lastindex is None:
        return int(payload)
    number = float(payload)
    if not math.isfinite(number):
        raise ValueError("beyond any number that can be held")
    return number


def _cbor_decoder() -> Callable[[bytes], Any]:
    """CBOR as in RFC 8949, with text for keys. Tags of times count as what they hold; no others are taken."""
    import cbor2  # noqa: PLC0415 - only where it is used

    tags: dict[int, Callable[[Any, bool], Any]] = dict.fromkeys(_OTHER_TAGS, _refuse_tag)
    tags.update(dict.fromkeys((*_TIME_TAGS, _CBOR_ITSELF), _content_of_tag))

    def decode(payload: bytes) -> Any:
        file = BytesIO(payload)
        try:
            value = cbor2.load(
                file,
                semantic_decoders=tags,
                tag_hook=_refuse_tag,
                max_depth=DEPTH_MAX,
                allow_duplicate_keys=False,
                strict_hashable_types=True,
            )
        except cbor2.CBORError as error:
            raise ValueError(str(error)) from error
        if file.tell() != len(payload):
            raise ValueError("bytes behind the end")
        _check_plain(value)
        return value

    return decode


def _content_of_tag(content: Any, _immutable: bool) -> Any:  # noqa: FBT001 - called by the library
    return content


def _refuse_tag(_first: object, _second: object, /) -> Any:
    raise ValueError("a tag that is not taken")


def _msgpack_decoder() -> Callable[[bytes], Any]:
    """MessagePack, with text for keys; no extension is taken."""
    import msgpack  # noqa: PLC0415 - only where it is used

    def decode(payload: bytes) -> Any:
        value = msgpack.unpackb(payload, strict_map_key=True, object_pairs_hook=_object_of, ext_hook=_refuse_tag)
        _check_plain(value)
        return value

    return decode


def _object_of(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key that stands twice")
    return value


def _check_plain(value: Any, depth: int = 0) -> None:
    """Refuse what JSON does not have, bytes excepted."""
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep")
    kind = type(value)
    if kind is dict:
        for key, inner in value.items():
            if type(key) is not str:
                raise ValueError("a key that is no text")
            _check_plain(inner, depth + 1)
    elif kind is list:
        for inner in value:
            _check_plain(inner, depth + 1)
    elif value is not None and not _is_plain(value, kind):
        raise ValueError(f"a {kind.__name__} that JSON does not have")


def _is_plain(value: Any, kind: type) -> bool:
    if kind is float:
        return math.isfinite(value)
    return value in _INTEGERS if kind is int else kind in (str, bool, bytes)
