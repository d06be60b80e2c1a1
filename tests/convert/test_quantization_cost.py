"""docs/explanation/quantization.md states the cost of int8 that the committed results have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def test_what_int8_costs() -> None:
    page = (CHECKOUT / "docs" / "explanation" / "quantization.md").read_text()
    text = page.partition("## Why quantization-aware training is not used")[2].partition("\n## ")[0]
    said, ps = [], []
    for bundle in ("fer-edge-m", "fer-edge-s", "fer-edge-xs"):
        int8, float32 = measured(bundle, "int8"), measured(bundle, "float32")
        assert int8["n"] == float32["n"] == 3589
        change = int8["correct"] - float32["correct"]
        count = (
            f"{abs(change)} {'of 3,589 images ' if not said else ''}{'more' if change > 0 else 'fewer'}"
            if change
            else "as many"
        )
        correctly = " correctly than float32" if not said else ""
        shown = [f"{100 * part['accuracy']:.2f} %" for part in ((int8, float32) if change else (int8,))]
        said.append(f"{count}{correctly} for {bundle} ({' instead of '.join(shown)})")
        ps.append(int8["mcnemar_p"])
    written = " ".join(text.split())
    for part in said:
        assert part in written
    assert f"p = {ps[0]:.2f}, {ps[1]:.2f} and {ps[2]:.2f}; with Holm's correction" in written
    assert all(p * (len(ps) - place) > 0.05 for place, p in enumerate(sorted(ps)))
