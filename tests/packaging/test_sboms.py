"""The bills of materials: valid, complete, and the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.environments.fresh_install import CHECKOUT
from support.environments.lock_files import requirements

pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib, which make test installs")


def bills(folder: Path, **environment: str) -> dict[str, bytes]:
    command = [sys.executable, str(CHECKOUT / "locks" / "write_sboms.py"), str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **environment})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_lock_file_has_a_valid_bill_that_lists_what_it_pins(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    made = bills(tmp_path / "one", SOURCE_DATE_EPOCH="1700000000")
    assert set(made) == {f"sbom-{lock}.cdx.json" for lock in ("edge", "pi-bookworm", "pi-bookworm-legacy", "pi-trixie")}
    for name, data in made.items():
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
        bill = json.loads(data)
        pinned = requirements(name.removeprefix("sbom-").removesuffix(".cdx.json"))
        found = {component["name"]: component for component in bill["components"]}
        assert set(found) == set(pinned)
        for package, component in found.items():
            assert component["hashes"]
            assert all(each["content"] in pinned[package] for each in component["hashes"])
        assert bill["metadata"]["component"]["name"] == "fer-edge"
        assert bill["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    assert bills(tmp_path / "two", SOURCE_DATE_EPOCH="1700000000") == made
