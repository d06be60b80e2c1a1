"""``fer-edge bench sequence`` as a process: with a miniature data set, the real one, and bad input."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import pytest

from fer_bench.results import load_report
from fer_bench.results.sequence import FER_EDGE, FULL_SEARCHES
from fer_edge.model.bundle import DEFAULT_BUNDLE
from support.data.fer2013 import write_mini_fer2013
from support.processes.edge_command import assert_one_line, fer_edge
from support.training import mini_run as training

SCHEMA = json.loads((files("fer_bench") / "schema" / "report.schema.json").read_text(encoding="utf-8"))
BRIEF = ("bench", "sequence", "--bundle", DEFAULT_BUNDLE, "--seconds", 4, "--no-costs")
SYSTEMS = [FER_EDGE, *FULL_SEARCHES]


def section(text: str) -> dict[str, Any]:
    """Check a report with the schema, and return its ``sequence`` section."""
    table: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(table)
    return table["sequence"]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make images of gratings, in which Haar finds no face."""
    return write_mini_fer2013(tmp_path_factory.mktemp("data") / "fer2013.csv", per_class=1, test_per_class=10)


@pytest.mark.slow
def test_a_run_leaves_a_folder_of_results(mini: Path, tmp_path: Path) -> None:
    # All systems see one second in two, so a sequence of four seconds has shared frames.
    done = training.fer_edge(  # it has the patience that a busy machine needs
        *BRIEF, "--data", mini, "--kinds", "easy", "empty", "--baseline-every", 2, "--out", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "FER+ is left out" in done.stderr
    found = section((tmp_path / "out" / "sequence.json").read_text())
    assert load_report(tmp_path / "out" / "sequence.json").sequence is not None
    scores = {(result["kind"], result["system"]): result["score"] for result in found["results"]}
    assert list(scores) == [(kind, system) for kind in ("easy", "empty") for system in SYSTEMS]
    for (kind, system), score in scores.items():
        assert score["faces"]["frames"] == (60 if system == FER_EDGE else 30)
        assert score["shared"]["frames"] == 30
        assert score["shared"]["shown"] == (30 if kind == "easy" else 0)
        assert score["cpu_s"] > 0
    assert found["cast"]["by_votes"] is False
    assert found["cast"]["findable"] < found["cast"]["shown"] <= found["cast"]["candidates"] == 70
    assert {share["system"] for share in found["stages"]} == set(SYSTEMS)
    assert {"detect_full", "other"} <= {share["stage"] for share in found["stages"]}
    assert found["costs"] == []
    text = (tmp_path / "out" / "sequence.md").read_text()
    assert "by their label alone" in text and "by their label alone" in done.stdout
    picture = cv2.imread(str(tmp_path / "out" / "frame-time.png"))
    assert picture is not None and picture.std() > 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "frame-time.png",
        "sequence.json",
        "sequence.md",
    ]


def test_fer_edge_may_be_shown_alone_and_with_other_settings(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[tracking]\nmin_hits = 1\n")
    words = (*BRIEF, "--data", mini, "--kinds", "empty", "--baseline-every", 0)
    done = fer_edge(*words, "--config", "own.toml", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = section(done.stdout)
    assert [result["system"] for result in found["results"]] == [FER_EDGE]
    assert len(found["settings"]["config"]) == 64


@pytest.mark.slow
def test_private_test_is_shown_only_after_public_test_was_with_the_same_code(mini: Path, tmp_path: Path) -> None:
    words = (*BRIEF, "--data", mini, "--kinds", "empty", "--baseline-every", 0)
    final = (*words, "--final")
    assert_one_line(fer_edge(*final, cwd=tmp_path), 2, "--public FILE")
    done = fer_edge(*words, "--json", "public.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = fer_edge(*final, "--public", "public.json", "--json", "final.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert section((tmp_path / "final.json").read_text())["cast"]["split"] == "PrivateTest"
    public = json.loads((tmp_path / "public.json").read_text())
    public["sequence"]["code_sha256"] = "0" * 64
    (tmp_path / "older.json").write_text(json.dumps(public))
    (tmp_path / "own.toml").write_text("[tracking]\nmin_hits = 1\n")
    for given, said in (
        (("--public", "older.json"), "older.json: the runtime's code has changed since"),
        (("--public", "final.json"), "final.json: not a report of bench sequence on PublicTest"),
        (("--public", "public.json", "--config", "own.toml"), "public.json: is of other settings or kinds"),
        (("--public", "gone.json"), "gone.json"),
    ):
        assert_one_line(fer_edge(*final, *given, cwd=tmp_path), 2, said)


def test_what_cannot_be_shown_is_told_in_one_line(mini: Path, tmp_path: Path) -> None:
    def refused(code: int, part: str, *words: object) -> None:
        assert_one_line(fer_edge("bench", "sequence", *words, cwd=tmp_path), code, part)

    refused(2, "slow", "--data", mini, "--kinds", "slow")
    refused(2, "--seconds", "--seconds", "0")
    refused(2, "--rounds", "--rounds", "x")
    refused(2, "nowhere.csv", "--data", "nowhere.csv")
    refused(2, "no.toml", "--data", mini, "--config", "no.toml")
    refused(6, "json", "--data", mini, "--json", "no/such/x.json")
    (tmp_path / "file").touch()
    refused(6, "file", "--data", mini, "--out", "file")
    few = write_mini_fer2013(tmp_path / "few.csv", per_class=1, test_per_class=2)
    result = fer_edge("bench", "sequence", "--data", few, cwd=tmp_path)
    assert (result.returncode, "too few images" in result.stderr) == (2, True)
    assert not list(tmp_path.glob("*.json"))
