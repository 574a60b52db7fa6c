"""Secrets that lie in files, such as systemd credentials."""

from __future__ import annotations

import os
from pathlib import Path


def read_secret(file: str) -> bytes:
    """The content of `file` without the line end; a relative name is looked up in `$CREDENTIALS_DIRECTORY`, if set.

    Raises:
        OSError: it cannot be read.
    """
    return (Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / file).read_bytes().rstrip(b"\r\n")
