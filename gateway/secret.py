"""Secrets that lie in files, such as systemd credentials."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(file: str) -> Path:
    """Where `file` is; a relative name is looked up in `$CREDENTIALS_DIRECTORY`, if set."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / file


def read_secret(file: str) -> bytes:
    """The content of `file`, found as `path_of` says, without the line end.

    Raises:
        OSError: it cannot be read.
    """
    return path_of(file).read_bytes().rstrip(b"\r\n")
