"""``fer-edge runs``: finished, unfinished and damaged runs."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from support.training.mini_run import assert_refused, fer_edge

CHECKPOINTS = Path(__file__).parents[3] / "models" / "checkpoints"


def runs(folder: Path) -> Path:
    """Make a folder with two real runs, one without its record and three epochs, and a damaged one."""
    for name in ("fer-edge-s", "fer-edge-xs"):
        (folder / name).mkdir(parents=True)
        for file in ("config.toml", "history.jsonl", "run.json", "model.keras"):
            shutil.copyfile(CHECKPOINTS / name / file, folder / name / file)
    stopped = folder / "stopped"
    stopped.mkdir()
    shutil.copyfile(CHECKPOINTS / "fer-edge-s" / "config.toml", stopped / "config.toml")
    lines = (CHECKPOINTS / "fer-edge-s" / "history.jsonl").read_text().splitlines(keepends=True)
    (stopped / "history.jsonl").write_text("".join(lines[:5]))
    damaged = folder / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    (folder / "not-a-run").mkdir()
    return folder


def test_the_table_and_its_json(tmp_path: Path) -> None:
    folder = runs(tmp_path / "runs")
    shown = fer_edge("runs", folder)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["damaged", "fer-edge-s", "fer-edge-xs", "stopped"]
    done = fer_edge("runs", "--json", cwd=tmp_path)  # ./runs by default
    found = {each["run"]: each for each in json.loads(done.stdout)}
    record = json.loads((folder / "fer-edge-s" / "run.json").read_text())
    ours = found["fer-edge-s"]
    assert (ours["accuracy"], ours["split"]) == (record["public_test_accuracy"], "PublicTest")
    assert (ours["parameters"], ours["finished"], ours["state"]) == (record["params"], True, "finished")
    assert ours["bytes"] == (folder / "fer-edge-s" / "model.keras").stat().st_size
    history = [json.loads(line) for line in (folder / "stopped" / "history.jsonl").read_text().splitlines()]
    assert found["stopped"]["accuracy"] == max(line["val_accuracy"] for line in history)
    assert found["stopped"]["state"].startswith("stopped: 5 of ")
    assert not found["stopped"]["finished"]
    assert found["damaged"]["state"].startswith("damaged: ")


def test_when_is_the_recorded_start_or_else_the_last_change(tmp_path: Path) -> None:
    folder = runs(tmp_path / "runs")
    record = json.loads((folder / "fer-edge-s" / "run.json").read_text())
    (folder / "fer-edge-s" / "run.json").write_text(json.dumps({**record, "started_at": "2026-01-02T03:04:05+00:00"}))
    small = folder / "fer-edge-xs" / "run.json"  # as earlier versions wrote it
    small.write_text(
        json.dumps({key: value for key, value in json.loads(small.read_text()).items() if key != "started_at"})
    )
    (folder / "stopped" / "data.json").write_text('{"started_at": "2026-02-03T04:05:06+00:00", "sets": []}')
    for name in ("config.toml", "history.jsonl", "run.json"):
        os.utime(folder / "fer-edge-xs" / name, (1e9, 1e9))
    done = fer_edge("runs", "--json", folder)
    when = {each["run"]: datetime.fromisoformat(each["when"]).astimezone(UTC) for each in json.loads(done.stdout)}
    assert when["fer-edge-s"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert when["stopped"] == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert when["fer-edge-xs"].timestamp() == 1e9


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    assert_refused(fer_edge("runs", tmp_path), 2, "contains no run", "fer-edge train --out")
    assert_refused(fer_edge("runs", tmp_path / "nothing"), 2, "cannot read it")


def test_one_run_is_a_table_of_one_row() -> None:
    shown = fer_edge("runs", CHECKPOINTS / "fer-edge-s")
    assert len(shown.stdout.splitlines()) == 3
