"""Files that a configuration includes: contracts and roles, as packs for makes of sensors have them.

What such a file has is as if it stood in the configuration. A relative path in a contract counts from the file that
has it.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = ("contracts", "roles")
"""What an included file may have."""


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file has.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", "Mend that line; strings need quotes.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


class Sources:
    """Which file a section is from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[tuple[str, str], Path] = {}

    def file_of(self, section: object, name: object) -> Path:
        """The file that has `[section.name]`."""
        return self._files.get((str(section), str(name)), self._path)

    def include(self, values: dict[str, Any]) -> None:
        """Add to `values` what the files under its key `include` have, and have paths in all contracts begin at a file.

        Raises:
            ConfigError: names the file, what is wrong there, and what to write.
        """
        _settle_paths(values.get("contracts"), self._path.parent)
        names = values.get("include", [])
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str):  # whatever else it may be, the model tells
                self._add(values, self._path.parent / name)

    def _add(self, values: dict[str, Any], path: Path) -> None:
        if not _is_file(path):
            raise ConfigError(
                f"{self._path}: include: there is no file {path}", "Paths count from the file that includes them."
            )
        included = read_toml(path)
        for section, entries in included.items():
            if section not in SECTIONS or not isinstance(entries, dict):
                raise ConfigError(
                    f"{path}: {section}: a file that is included has [contracts.<name>] and [roles.<name>] only",
                    f"Move it to {self._path}.",
                )
            at = values.setdefault(section, {})
            if not isinstance(at, dict):
                continue
            if section == "contracts":
                _settle_paths(entries, path.parent)
            for name, entry in entries.items():
                if name in at:
                    raise ConfigError(
                        f"{path}: {section}.{name}: there is one in {self.file_of(section, name)} as well",
                        "Give one of them another name.",
                    )
                at[name] = entry
                self._files[section, name] = path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file system has such a name, or nobody may look
        return False


def _settle_paths(contracts: object, folder: Path) -> None:
    """Make `schema_file`, and `model` where it is in a file, independent of the folder a command is called in."""
    for contract in contracts.values() if isinstance(contracts, dict) else ():
        if not isinstance(contract, dict):
            continue
        schema_file, model = contract.get("schema_file"), contract.get("model")
        if isinstance(schema_file, str):
            contract["schema_file"] = str(folder / schema_file)
        if isinstance(model, str) and model.rpartition(":")[0].endswith(".py"):
            contract["model"] = str(folder / model)
