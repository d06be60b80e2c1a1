"""Chains that really run: interrupted at training, continued, and changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from fer_train.locks import is_held
from support.models.bundles import copy_bundle
from support.processes.edge_command import clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for
from support.training.chains import CHAIN, GATE, run, states, write_chain

EVERYTHING = dict.fromkeys(("train", "convert", "gate", "bench-accuracy"), "done")
KEPT = {"data": "up to date", **dict.fromkeys(EVERYTHING, "up to date")}


def epochs(folder: Path) -> int:
    history = folder / "out" / "runs" / "recipe" / "history.jsonl"
    return len(history.read_text().splitlines()) if history.exists() else 0


def interrupt(folder: Path, how: signal.Signals, *, group: bool = False) -> tuple[int, str]:
    """Start the chain, send the signal after another epoch; return the exit code and stderr."""
    before = epochs(folder)
    process = subprocess.Popen(
        command_line("chain", "run", "chain.toml"),
        cwd=folder, env=clean_environment(), text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: epochs(folder) > before or process.poll() is not None, 240)
    (os.killpg if group else os.kill)(process.pid, how)
    errors = process.communicate(timeout=120)[1]
    # A step whose chain is killed ends, too.
    wait_for(lambda: not is_held(folder / "out" / "runs" / "recipe" / "run.lock"), 60)
    return process.returncode, errors


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chain that was interrupted twice at its training, and continued."""
    folder = tmp_path_factory.mktemp("chain")
    write_chain(folder, epochs=24)
    code, errors = interrupt(folder, signal.SIGINT, group=True)  # as a terminal does
    assert code == 130, errors
    assert "the last whole epoch is kept" in errors and errors.endswith("fer-edge: interrupted\n")
    code, errors = interrupt(folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    begun = epochs(folder)
    assert 2 <= begun < 24
    preview = run(folder, "--dry-run").stdout.splitlines()[::2]
    assert preview[:2] == ["data: up to date", "train: not done yet"]
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert states(done) == {"data": "up to date", **EVERYTHING}
    assert "--resume\n" in done.stdout and f"resuming after epoch {begun}" in done.stderr
    return folder


@pytest.mark.slow
def test_a_chain_that_was_interrupted_has_every_epoch_once(chained: Path) -> None:
    lines = (chained / "out" / "runs" / "recipe" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 25))


@pytest.mark.slow
def test_only_what_depends_on_a_change_runs_again(chained: Path) -> None:
    # Another time of a file is not a change.
    os.utime(chained / "recipe.toml", (0, 0))
    assert states(run(chained)) == KEPT

    # A rule that is broken ends the chain by the step's own message and code.
    (chained / "gate.toml").write_text(GATE.format(10))
    refused = run(chained)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("fer-edge:")]
    assert "the gate refuses it" in line
    assert states(refused)["gate"].startswith("failed after ") and "bench-accuracy" not in states(refused)
    assert "gate: changed: gate.toml" in refused.stdout
    (chained / "gate.toml").write_text(GATE.format(2_000_000))
    assert states(run(chained)) == {**KEPT, "gate": "done"}

    # A result that was changed is made again.
    report = chained / "out" / "accuracy.json"
    good = json.loads(report.read_bytes())
    report.write_text("{}")
    again = run(chained)
    assert states(again) == {**KEPT, "bench-accuracy": "done"}
    assert "bench-accuracy: its result was changed: out/accuracy.json" in again.stdout
    assert json.loads(report.read_bytes())["results"] == good["results"]

    # Another recipe starts a new training.
    recipe = chained / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 24", "epochs = 1"))
    preview = run(chained, "--dry-run").stdout.splitlines()[::2]
    assert preview[1:4] == [
        "train: changed: recipe.toml",
        "convert: if train changes its input",
        "gate: if convert changes its input",
    ]
    trained = run(chained, "--to", "train")
    assert states(trained) == {"data": "up to date", "train": "done"}, trained.stderr
    assert epochs(chained) == 1


def test_a_chain_runs_its_steps_once_and_ends_at_a_gate_that_refuses(tmp_path: Path) -> None:
    write_chain(tmp_path)
    first = run(tmp_path)
    assert (first.returncode, states(first)) == (0, {"data": "done", **EVERYTHING}), first.stderr
    assert states(run(tmp_path)) == KEPT
    (tmp_path / "gate.toml").write_text(GATE.format(10))
    refused = run(tmp_path)
    assert refused.returncode == 1 and "the gate refuses it" in refused.stderr
    assert states(refused)["gate"].startswith("failed after ") and "bench-accuracy" not in states(refused)


def test_two_processes_do_not_run_one_chain(tmp_path: Path) -> None:
    write_chain(tmp_path)
    first = subprocess.Popen(
        command_line("chain", "run", "chain.toml", "--to", "train"), cwd=tmp_path, env=clean_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for((tmp_path / "out" / "audit.csv").exists)
        second = fer_edge("chain", "run", "chain.toml", cwd=tmp_path)
        assert second.returncode == 2
        assert second.stderr == "fer-edge: out: another process runs a chain in this folder; wait until it ends\n"
    finally:
        first.terminate()
        assert first.wait(timeout=120) == 143


def test_a_step_that_fails_hands_on_its_code_and_message(tmp_path: Path) -> None:
    write_chain(tmp_path)
    (tmp_path / "fer2013.csv").write_text("nothing\n")
    (tmp_path / "chain.toml").write_text(CHAIN)
    done = run(tmp_path)
    alone = fer_edge("data", "audit", "fer2013.csv", "--list", "out/audit.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (alone.returncode, alone.stderr) and done.returncode == 2


@pytest.mark.slow
def test_a_release_is_published_once_and_again_if_its_settings_change(tmp_path: Path, tiny_bundle: Path) -> None:
    chain = write_chain(tmp_path)
    copy_bundle(tiny_bundle, tmp_path / "out" / "bundle")
    assert fer_edge("release", "init", "repo", cwd=tmp_path).returncode == 0
    release = CHAIN + '[release]\nrepository = "repo"\nrollout = {}\n'
    chain.write_text(release.format(10))
    first = run(tmp_path, "--from", "release")
    assert (first.returncode, states(first)) == (0, {"release": "done"}), first.stderr
    assert "0.0.1 in stable, for 10 % of the devices\n" in first.stdout
    assert states(run(tmp_path, "--from", "release")) == {"release": "up to date"}
    chain.write_text(release.format(100))
    again = run(tmp_path, "--from", "release")
    assert "release: other settings\n" in again.stdout and states(again) == {"release": "done"}
    assert "0.0.1" in fer_edge("release", "status", "repo", cwd=tmp_path).stdout
