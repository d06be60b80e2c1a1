"""A model that crashes, hangs or confuses the interpreter is refused with exit 4, at the start and at a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.edge_command import assert_one_line, fer_edge
from support.hostile_models import (
    SHARED,
    Spoil,
    activation_scale,
    filter_index,
    hostile_bundle,
    name_not_utf8,
    no_operators,
    output_index,
)

SPOILED: dict[str, tuple[Spoil, str]] = {
    **{
        f"scale {value}": (activation_scale(float(value)), "its scale is")
        for value in ("nan", "inf", "0", "-1", "1e-40", "3e38")
    },
    "no filter": (filter_index(-1), "it has no filter"),
    "filter beyond the tensors": (filter_index(10_000), "not one of the"),
    "output -1": (output_index(-1), "has an output that is not one of its"),
    "output beyond the tensors": (output_index(10_000), "has an output that is not one of its"),
    "no operators": (no_operators, "has no operators"),
    "name": (name_not_utf8, "its name is not UTF-8"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_graph_that_the_interpreter_cannot_run_is_exit_4(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    spoil, said = SPOILED[kind]
    hostile_bundle(tiny_bundle, tmp_path / "b", spoil)
    result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", "b", cwd=tmp_path)
    assert_one_line(result, 4, "int8.tflite", said)
    assert result.stdout == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the crafted bundles in {SHARED}")
def test_the_bundles_of_the_inspection_are_refused(tmp_path: Path) -> None:
    for bundle in sorted(path for path in SHARED.iterdir() if path.name != "while_true"):
        result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", bundle, cwd=tmp_path)
        assert_one_line(result, 4, f"{bundle.name}/int8.tflite")
