"""Where fleet files are found: a path, or the name of a file in `config/fleets`."""

from pathlib import Path

from device_sims.errors import UsageError

FOLDER = Path("config") / "fleets"


def fleet_folders() -> list[Path]:
    """The folders to look in: under the working directory, then beside the package's own source."""
    candidates = [Path.cwd() / FOLDER, Path(__file__).resolve().parent.parent / FOLDER]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def shipped_fleets() -> dict[str, Path]:
    """The files of `config/fleets` by name; of two with one name the first folder's counts."""
    found = {path.stem: path for folder in reversed(fleet_folders()) for path in folder.glob("*.toml")}
    return dict(sorted(found.items()))


def find_fleet(wanted: str) -> Path:
    """The file that `wanted` (a path or a name) means.

    Raises:
        UsageError: there is no such file.
    """
    path = Path(wanted)
    if path.is_file():
        return path
    shipped = shipped_fleets()
    if wanted in shipped:
        return shipped[wanted]
    known = ", ".join(shipped) or "none found here"
    raise UsageError(
        f"there is no fleet {wanted!r}", hint=f"give the path of a fleet file, or one of these names: {known}"
    )
