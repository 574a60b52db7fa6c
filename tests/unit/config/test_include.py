"""Files that a configuration includes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import load
from gateway.contracts.build import build
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Config

MAIN = 'include = ["packs/weather.toml"]\n[gateway]\nid = "edge"\ndata_dir = "data"\n'
PACK = """
[roles.station]
publish = ["weather/{username}/#"]
[contracts.weather]
topic = "weather/{device}"
schema_file = "weather.json"
[contracts.wind]
topic = "wind/{device}"
model = "models.py:Wind"
"""

POLICY = PACK.replace("schema_file", "polcy = 'flag'\nschema_file")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "weather.json").write_text('{"type": "object", "required": ["t"]}', encoding="utf-8")
    (tmp_path / "packs" / "models.py").write_text(
        "from pydantic import BaseModel\nclass Wind(BaseModel):\n    speed: float\n", encoding="utf-8"
    )
    return tmp_path


def read(folder: Path, pack: str = PACK, main: str = MAIN, environment: dict[str, str] | None = None) -> Config:
    (folder / "gateway.toml").write_text(main, encoding="utf-8")
    (folder / "packs" / "weather.toml").write_text(pack, encoding="utf-8")
    return load.load(folder / "gateway.toml", environment or {})


def message_of(folder: Path, pack: str = PACK, main: str = MAIN) -> str:
    with pytest.raises(ConfigError) as wrong:
        read(folder, pack, main)
    assert wrong.value.hint
    return str(wrong.value)


def test_contracts_and_roles_of_an_included_file_are_the_configurations_own(folder: Path) -> None:
    config = read(folder)
    assert [*config.contracts] == ["weather", "wind"]
    assert config.roles["station"].publish == ["weather/{username}/#"]
    contracts = build(config.contracts)
    assert contracts.judge("weather/d1", b'{"t": 1}') is None
    assert contracts.judge("wind/d1", b'{"speed": 3.5}') is None
    assert contracts.judge("wind/d1", b'{"speed": "3.5"}') is not None


def test_paths_of_a_contract_in_the_configuration_count_from_it(folder: Path) -> None:
    main = MAIN + '[contracts.own]\ntopic = "own"\nschema_file = "packs/weather.json"\n'
    assert read(folder, main=main).contracts["own"].schema_file == folder / "packs" / "weather.json"


def test_the_environment_can_include_and_override_what_is_included(folder: Path) -> None:
    environment = {"GATEWAY__INCLUDE": "packs/weather.toml", "GATEWAY__CONTRACTS__WIND__POLICY": "flag"}
    config = read(folder, main=MAIN.partition("\n")[2], environment=environment)
    assert (config.include, config.contracts["wind"].policy) == (["packs/weather.toml"], "flag")


def test_a_mistake_names_the_file_the_key_and_what_to_write(folder: Path) -> None:
    pack = folder / "packs" / "weather.toml"
    for text, told in (
        (POLICY, "contracts.weather.polcy: there is no such key; did you mean 'policy'?"),
        (PACK.replace("weather.json", "none.json"), "contracts.weather.schema_file: "),
        (PACK.replace("models.py:Wind", "models.py:Wnd"), "contracts.wind.model: "),
        (PACK.replace("publish", "publsh"), "roles.station.publsh: there is no such key; did you mean 'publish'?"),
        (PACK + "[gateway]\nid = 'x'\n", "gateway: a file that is included has [contracts.<name>] and"),
        ("include = ['x']\n", "include: a file that is included has"),
        ("contracts = 5\n", "contracts: a file that is included has"),
    ):
        assert message_of(folder, text).startswith(f"{pack}: {told}")
    assert message_of(folder, "x = ").startswith(f"{pack} is not TOML")


def test_mistakes_of_several_files_are_told_at_once(folder: Path) -> None:
    message = message_of(folder, POLICY, MAIN + "[broker]\nport = 1\n")
    assert f"{folder / 'gateway.toml'}: broker.port: " in message
    assert f"{folder / 'packs' / 'weather.toml'}: contracts.weather.polcy: " in message


def test_a_name_that_is_there_twice_names_both_files(folder: Path) -> None:
    message = message_of(folder, main=MAIN + '[contracts.wind]\ntopic = "w"\nfields = { x = "number" }\n')
    assert message == f"{folder}/packs/weather.toml: contracts.wind: there is one in {folder}/gateway.toml as well"
    twice = MAIN.replace('"packs/weather.toml"', '"packs/weather.toml", "packs/weather.toml"')
    assert "there is one in" in message_of(folder, main=twice)


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ('"packs/none.toml"', "include: there is no file"),
        ('"packs"', "include: there is no file"),
        ("5", "include.0: Input should be a valid string"),
    ],
)
def test_a_file_that_is_not_there_is_told(folder: Path, listed: str, told: str) -> None:
    message = message_of(folder, main=MAIN.replace('"packs/weather.toml"', listed))
    assert message.startswith(f"{folder / 'gateway.toml'}: {told}")
    assert "Input should be a valid list" in message_of(folder, main="include = 5\n" + MAIN.partition("\n")[2])
