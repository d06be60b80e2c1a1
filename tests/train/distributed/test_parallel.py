"""``fer-edge train --coordinator``: two real processes that train as one, on JAX.

``tests/backends`` tests their failures.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.commands.cli import main
from fer_edge.model.bundle import load_bundle
from fer_train.distributed.strategy import Shard, weights_digest
from fer_train.networks.model_files import load_model
from support.processes import fork
from support.training.mini_run import assert_refused
from support.training.parallel import RECIPE, ended, free_port, start, start_pair, write_training


@dataclass(frozen=True)
class Road:
    folder: Path
    processes: tuple[CompletedProcess[str], CompletedProcess[str]]
    alone: CompletedProcess[str]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The same recipe in two processes (``run``) and in one (``alone``); this process can import their network too."""
    folder = tmp_path_factory.mktemp("parallel")
    write_training(folder)
    pair = start_pair(folder)
    alone = start(folder, "--config", "recipe.toml", "--out", "alone", environment={"KERAS_BACKEND": "jax"})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Road(folder, (ended(pair[0]), ended(pair[1])), ended(alone))


def weights(run: Path) -> npt.NDArray[np.float64]:
    """Return all weights of the last epoch in one array."""
    return np.concatenate([value.ravel() for value in load_model(run / "checkpoint.keras").get_weights()])


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_end_with_identical_weights(road: Road) -> None:
    held = []
    for done in road.processes:
        assert done.returncode == 0, done.stderr
        held.append(re.findall(r"holds the weights ([0-9a-f]{64})", done.stderr))
    assert len(held[0]) == 3
    assert held[0] == held[1]
    assert weights_digest(load_model(road.folder / "run/checkpoint.keras")) == held[0][-1]
    # Only process 0 prints the result and writes files.
    assert [done.stdout for done in road.processes] == ["run/model.keras\n", ""]
    assert not (road.folder / "nothing").exists()
    assert json.loads((road.folder / "run/run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_they_end_as_one_process_with_the_same_batches_does(road: Road) -> None:
    assert road.alone.returncode == 0, road.alone.stderr
    together, alone = weights(road.folder / "run"), weights(road.folder / "alone")
    # Sums over a batch have another order, which changes the last of float32's 24 bits. Over a few dozen steps this
    # grows to 0.0004 of the weights' norm on an AMD EPYC. Two runs with different batches differ by 0.8 of it, as would
    # a process that trained on its half alone, or normalized by it.
    assert np.linalg.norm(together - alone) < 0.005 * np.linalg.norm(alone)
    for ours, theirs in zip(history(road.folder / "run"), history(road.folder / "alone"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.01)
    assert history(road.folder / "run")[-1]["val_accuracy"] > 0.5


@pytest.mark.slow
def test_a_model_trained_on_jax_converts_under_tensorflow(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    data = road.folder / "fer2013.csv"
    done = fork.fer_edge("convert", "run", "--out", tmp_path / "bundle", data=data, cwd=road.folder)
    assert done.returncode == 0, done.stderr
    told = json.loads((road.folder / "run/run.json").read_text())
    assert told["backend"] == "jax"
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert set(manifest.variants) == {"float32", "int8"}
    # In another runtime, one of the 56 images may get another label.
    assert list(manifest.variants["float32"].accuracy.values()) == pytest.approx(
        [told["public_test_accuracy"]], abs=0.02
    )


@pytest.mark.slow
def test_a_process_that_nobody_meets_says_so(road: Road) -> None:
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "1", "--wait", "1")
    done = ended(start(road.folder, "--config", "recipe.toml", *meeting))
    assert_refused(done, 3, "process 1 of 2", "has not met", "127.0.0.1", "1 s", "--coordinator")
    assert done.stderr.count("\n") == 1, done.stderr


MEETING = {"--coordinator": "127.0.0.1:9999", "--processes": "2", "--process": "0"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--process": None}, ["--process", "go together"]),
        ({"--coordinator": None}, ["--coordinator", "go together"]),
        ({"--coordinator": None, "--processes": None, "--process": None, "--wait": "5"}, ["go together"]),
        ({"--coordinator": "somewhere"}, ["HOST:PORT", "somewhere"]),
        ({"--coordinator": "somewhere:0"}, ["HOST:PORT"]),
        ({"--processes": "1"}, ["--processes 1", "2 or more"]),
        ({"--processes": "two"}, ["--processes", "two"]),
        ({"--process": "2"}, ["--process 2", "0..1"]),
        ({"--process": "-1"}, ["--process"]),
        ({"--wait": "0"}, ["--wait", "1..86400"]),
        ({"--wait": "nan"}, ["--wait", "1..86400"]),
        ({"--processes": "3"}, ["loop.batch_size 32", "3 processes", "multiple of 3"]),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_loaded(
    changes: dict[str, str | None],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert_refused(train_here(tmp_path, {**MEETING, **changes}, capsys), 2, *words)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_other_backends_are_refused(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert_refused(train_here(tmp_path, MEETING, capsys), 2, f"KERAS_BACKEND={backend}", "JAX alone")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_at_which_process_0_cannot_listen_is_told_at_once(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{host}:{other.getsockname()[1]}"
        done = train_here(tmp_path, {**MEETING, "--coordinator": address}, capsys)
    assert_refused(done, 2, address, "process 0 cannot listen there", "free port")


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ("127.0.0.1 localhost\n", ["has no address"]),
        ("127.0.0.1 localhost\n192.0.2.1 fer-edge-nameless\n", ["has no address of this machine", "192.0.2.1"]),
    ],
)
@pytest.mark.parametrize("process", [0, 1])
def test_a_machine_whose_own_name_is_not_its_own_says_so_at_once(
    process: int, hosts: str, words: list[str], tmp_path: Path
) -> None:
    """Give this process the host name and /etc/hosts of another machine, in namespaces."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "hosts").write_text(hosts)
    renamed = 'hostname fer-edge-nameless && mount --bind hosts /etc/hosts && exec "$0" "$@"'
    # Root does not need a user namespace, which cannot be created in a chroot.
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    namespaces = ["unshare", "--uts", "--mount", *user, "sh", "-c", renamed]
    if (why := refused_namespaces(namespaces, tmp_path)) is not None:
        pytest.skip(why)
    meeting = {**MEETING, "--coordinator": f"127.0.0.1:{free_port()}", "--process": str(process)}
    train = [sys.executable, "-m", "fer_edge", "train", "--config", "recipe.toml", *chain(*meeting.items())]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [*namespaces, *train], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert_refused(done, 2, "fer-edge-nameless", *words, "/etc/hosts")
    assert done.stderr.count("\n") == 1, done.stderr


def refused_namespaces(command: list[str], folder: Path) -> str | None:
    """Return why a process cannot get another host name here; None if it can."""
    try:
        done = subprocess.run([*command, "true"], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"needs util-linux: {error}"
    return None if done.returncode == 0 else f"needs the right to change the host name: {done.stderr.strip()}"


def train_here(
    folder: Path, options: Mapping[str, str | None], capsys: pytest.CaptureFixture[str]
) -> CompletedProcess[str]:
    """Run the command in this process, for refusals before it starts another one."""
    (folder / "recipe.toml").write_text(RECIPE)
    words = ["train", "--config", str(folder / "recipe.toml"), "--out", str(folder / "run")]
    words += [f"{name}={value}" for name, value in options.items() if value is not None]
    code = main(words)
    assert not (folder / "run").exists()
    return CompletedProcess(words, code, *capsys.readouterr())


@given(images=st.integers(0, 500), processes=st.integers(1, 9), devices_each=st.integers(1, 4))
def test_the_parts_of_a_batch_are_the_batch(images: int, processes: int, devices_each: int) -> None:
    devices = processes * devices_each
    rows = list(range(images))
    parts = [rows[Shard(index, processes, devices).of(images)] for index in range(processes)]
    assert len({len(part) for part in parts}) == 1
    assert list(chain(*parts)) == rows[: images - images % devices]
    assert sum(map(len, parts)) == Shard(0, processes, devices).used(images)
