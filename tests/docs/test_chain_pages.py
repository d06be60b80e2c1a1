"""Files that are written from the definitions of a chain's settings: the JSON Schema and the reference page."""

from __future__ import annotations

from pathlib import Path

import pytest
import write_chain

CHECKOUT = Path(__file__).parents[2]
PAGES = write_chain.pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_the_written_files_are_those_of_the_definitions(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: make chains"


def test_each_key_is_described() -> None:
    for section, kind in {"top": write_chain.Chain, **write_chain.SECTIONS}.items():
        keys = write_chain.keys_of(kind)
        tables = {name.strip("[]") for name in write_chain.SECTIONS} if section == "top" else set()
        assert {name for name, _, _ in keys} == set(kind.__struct_fields__) - tables
        for name, _, description in keys:
            assert description.endswith(".") and len(description) > 15, f"{section} {name}"
