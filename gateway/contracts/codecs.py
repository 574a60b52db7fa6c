"""From the bytes of a payload to the value in it, strictly.

What two readers could take for two things is refused: a key that stands twice in an object, NaN, text that is not
UTF-8. So what a contract has judged is what every other program will read.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import jiter

Codec: TypeAlias = Literal["json"]


def json(payload: bytes) -> Any:
    """JSON as in RFC 8259, nested at most 200 deep (the parser's own limit), with each key of an object once.

    Raises:
        ValueError: it is none.
    """
    value = jiter.from_json(payload, allow_inf_nan=False)
    # Each key has a colon. If there are as many colons as keys no key was dropped: the quick way to know for most.
    if type(value) is dict and payload.count(58) == len(value):
        return value
    return jiter.from_json(payload, allow_inf_nan=False, catch_duplicate_keys=True)


CODECS = {"json": json}
