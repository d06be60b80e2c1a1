"""docs/explanation/quantization.md states the cost of int8 that the committed results have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]


def measured(bundle: str, variant: str) -> dict[str, Any]:
    report = json.loads((CHECKOUT / "benchmarks" / "results" / f"{bundle}-x86_64.json").read_text())
    (found,) = (
        accuracy
        for result in report["results"]
        if result["variant"] == variant
        for accuracy in result["accuracy"]
        if accuracy["split"] == "PrivateTest"
    )
    return dict(found)


@pytest.mark.parametrize("bundle", ["fer-edge-s", "fer-edge-xs"])
def test_what_int8_costs(bundle: str) -> None:
    page = (CHECKOUT / "docs" / "explanation" / "quantization.md").read_text()
    text = page.partition("## Why quantization-aware training is not used")[2].partition("\n## ")[0]
    number, places = re.escape(bundle), r"(\d+) (?:of 3,589 images )?fewer (?:correctly than float32 )?for "
    found = re.search(rf"{places}{number}\s+\(([\d.]+) % instead of ([\d.]+) %\)", " ".join(text.split()))
    assert found is not None
    int8, float32 = measured(bundle, "int8"), measured(bundle, "float32")
    assert int8["n"] == float32["n"] == 3589
    assert int(found[1]) == float32["correct"] - int8["correct"]
    assert (found[2], found[3]) == (f"{100 * int8['accuracy']:.2f}", f"{100 * float32['accuracy']:.2f}")
    values = re.search(r"p = ([\d.]+) and ([\d.]+)", " ".join(text.split()))
    assert values is not None
    assert f"{int8['mcnemar_p']:.2f}" == values[1 if bundle == "fer-edge-s" else 2]
    assert int8["mcnemar_p"] > 0.05
