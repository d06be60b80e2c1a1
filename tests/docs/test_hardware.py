"""docs/explanation/hardware.md agrees with ``fer-edge doctor``: each row names contents of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fer_edge.commands.doctor import CHECKS

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "explanation" / "hardware.md").read_text()
SCHEMA = json.loads((CHECKOUT / "edge/fer_edge/schema/report.schema.json").read_text())
NAMES = ["settings", *(check.name for check in CHECKS)]
ELSEWHERE = "not in the report: "


def rows() -> list[list[str]]:
    """Return the cells of each row of the table of rows to check."""
    table = PAGE.partition("## The rows")[2].partition("## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| | ", "| ---"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def holds(schema: dict[str, Any], keys: list[str]) -> bool:
    """Return whether a report can have a value at ``keys``."""
    if not keys:
        return True
    if "anyOf" in schema:
        return any(holds(one, keys) for one in schema["anyOf"])
    name, is_list = keys[0].removesuffix("[]"), keys[0].endswith("[]")
    inner = schema.get("properties", {}).get(name)
    if inner is None or is_list != (inner.get("type") == "array" and len(keys) > 1):
        return False
    return holds(inner["items"] if is_list else inner, keys[1:])


def test_each_row_is_numbered_and_says_where_it_is_from_and_what_to_run() -> None:
    assert [row[0] for row in rows()] == [str(number) for number in range(1, len(rows()) + 1)]
    assert all(len(row) == 5 and all(row) for row in rows())


def test_each_row_looks_for_what_a_report_holds() -> None:
    for number, _, _, _, place in rows():
        if place.startswith(ELSEWHERE):
            continue
        found = re.findall(r"`([^`]+)`", place)
        assert found, f"row {number} names nothing of the report"
        for path in found:
            section, _, name = path.partition(".")
            known = name in NAMES if section == "checks" else holds(SCHEMA, path.split("."))
            assert known, f"row {number}: no report holds {path}"


def test_the_page_lists_all_keys_and_all_checks() -> None:
    told = PAGE.partition("## Contents of a report")[2]
    keys = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in told.splitlines() if line.startswith("| `")))
    assert keys == list(SCHEMA["properties"]) == SCHEMA["required"]
    assert re.findall(r"`(\w+)`", told.partition("The checks are, in this order:")[2]) == NAMES


def test_what_is_not_there_is_seen() -> None:
    assert (
        holds(SCHEMA, ["cameras[]", "frames"]) and holds(SCHEMA, ["model", "median_ms"]) and holds(SCHEMA, ["cameras"])
    )
    for wrong in (["cameras", "frames"], ["cameras[]", "ghosts"], ["model", "ghosts"], ["ghosts"], ["system[]", "os"]):
        assert not holds(SCHEMA, wrong)
