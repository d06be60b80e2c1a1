"""``fer-edge data`` as a process: output, exit codes, one line for each refusal, no incomplete files."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.data.fer2013 import write_mini_fer2013

TINY = {"per_class": 3, "test_per_class": 2, "side": 12}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "FER_EDGE_DATA": ""}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fer_edge", "data", *map(str, arguments)]


def run(
    environment: dict[str, str], *arguments: str | Path, file_limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    def limit_file_size() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.run(
        command(*arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=environment["XDG_CACHE_HOME"].removesuffix("cache"),
        preexec_fn=limit_file_size,
    )


def test_audit_prints_tables_or_json_and_lists_findings(environment: dict[str, str], tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv.xz", leaks=2, blanks=1, **TINY)
    done = run(environment, "audit", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 PublicTest and 0 PrivateTest images are also in Training" in done.stdout

    done = run(environment, "audit", path, "--json", "--list", tmp_path / "list.csv")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["rows"], report["cross_split_groups"], report["blank"]) == (52, 2, 1)
    with (tmp_path / "list.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["kind", "split", "row", "label", "group"]
    assert sorted(row["kind"] for row in rows) == ["blank", *["duplicate"] * 4, *["leak"] * 4]


def test_export_makes_class_folders_that_audit_reads(environment: dict[str, str], tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    done = run(environment, "export", path, "--out", tmp_path / "deep/out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "49 images" in done.stdout
    again = json.loads(run(environment, "audit", tmp_path / "deep/out", "--json").stdout)
    assert again["rows_sha256"] == json.loads(run(environment, "audit", path, "--json").stdout)["rows_sha256"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "kaggle.com", id="missing"),
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(bytes(range(256)) * 40, "line 1", id="binary"),
        pytest.param(b"\xfd7zXZ\0 and no more", "line 1", id="truncated xz"),
        pytest.param(b"PK\3\4 and no more", "cannot be opened", id="truncated zip"),
        pytest.param(
            b"emotion,pixels,Usage\n0,1 2 3 4,Training\n9,1 2 3 4,Training\n", "line 3: label '9'", id="label"
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    content: bytes | None, said: str, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "fer2013.csv"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    done = run(environment, "export", path, "--out", out)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert str(path) in done.stderr
    assert not out.exists()


def test_skipped_rows_are_told(environment: dict[str, str], tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    with path.open("a") as stream:
        stream.write("3,300,Training\n")
    assert run(environment, "audit", path).returncode == 2
    done = run(environment, "audit", path, "--skip-bad-rows")
    assert done.returncode == 0
    assert "1 malformed rows left out" in done.stdout
    assert "1 malformed rows were left out" in done.stderr


def test_output_that_cannot_be_written_is_exit_code_6(environment: dict[str, str], tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    (tmp_path / "file").touch()
    for arguments in (
        ("audit", path, "--list", tmp_path / "nowhere/list.csv"),
        ("export", path, "--out", tmp_path / "file/out"),
    ):
        done = run(environment, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1), done.stderr


def test_a_full_disk_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    # A limit on file size makes a write fail halfway, like a full disk.
    path = write_mini_fer2013(tmp_path / "fer2013.csv", leaks=3, **TINY)
    before = sorted(tmp_path.iterdir())
    for arguments in (("audit", path, "--list", tmp_path / "list.csv"), ("export", path, "--out", tmp_path / "out")):
        done = run(environment, *arguments, file_limit=40)
        assert done.returncode == 6
        assert "cannot" in done.stderr.splitlines()[-1]
        assert [entry for entry in sorted(tmp_path.iterdir()) if entry.name != "cache"] == before
    assert list((tmp_path / "cache").rglob("*.partial")) == []


def test_ctrl_c_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", per_class=700, test_per_class=1, side=12)
    process = subprocess.Popen(
        command("export", path, "--out", tmp_path / "out"), env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    if process.returncode != 0:  # on a busy machine the signal may arrive after the export
        assert (process.returncode, stderr) == (130, "fer-edge: interrupted\n")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "fer2013.csv"]
