"""What documents show of contracts is a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load

REPOSITORY = Path(__file__).parents[3]
HEAD = '[gateway]\nid = "edge"\ndata_dir = "data"\n'


def examples(document: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[contracts." in block]


@pytest.mark.parametrize("document", ["README.md", "docs/contracts.md"])
def test_the_contracts_in_a_document_load(document: str, tmp_path: Path) -> None:
    assert examples(document)
    path = tmp_path / "gateway.toml"
    (tmp_path / "packs").symlink_to(REPOSITORY / "config" / "packs")
    for example in examples(document):
        top, section, rest = example.partition("[")  # a key such as `include` stands above every section
        if top.startswith("include"):
            top, section, rest = example.partition("\n[")
        path.write_text(f"{top}\n{HEAD}{section}{rest}", encoding="utf-8")
        assert load.load(path, {}).contracts
