"""The corpus of the targets: inputs that reach something of their own, or that something once stumbled over.

One file of JSON for each target, a string for each input: each of its characters is the byte of that number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).parent / "corpus" / "guided"


def kept(target: str) -> list[bytes]:
    """Every input of a target."""
    texts = json.loads((FOLDER / f"{target}.json").read_text(encoding="ascii"))
    return [text.encode("latin-1") for text in texts]


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Write the corpus of a target anew, the shortest first."""
    ordered = sorted(set(inputs), key=lambda each: (len(each), each))
    text = json.dumps([each.decode("latin-1") for each in ordered], indent=0)
    (FOLDER / f"{target}.json").write_text(text + "\n", encoding="ascii")
