"""What ``fer-edge chain export dvc`` writes, run by DVC itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.edge_command import assert_one_line, clean_environment, fer_edge
from support.training.chains import CHAIN, GATE, write_chain


def dvc(folder: Path, *words: str) -> str:
    programs = Path(sys.executable).parent
    environment = {
        **clean_environment(),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "site-cache"),
    }
    done = subprocess.run(
        [str(programs / "dvc"), *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_dvc_runs_the_stages_and_only_those_that_changed(tmp_path: Path) -> None:
    write_chain(tmp_path)
    (tmp_path / "chain.toml").write_text(CHAIN.partition("[bench]")[0])
    done = fer_edge("chain", "export", "dvc", "chain.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "dvc.yaml\n", "")
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    stages = ("data", "train", "convert", "gate")
    printed = dvc(tmp_path, "repro")
    assert [f"Running stage '{name}'" in printed for name in stages] == [True] * 4
    assert (tmp_path / "out" / "bundle" / "int8.tflite").is_file()
    assert "up to date" in dvc(tmp_path, "repro")
    (tmp_path / "gate.toml").write_text(GATE.format(2_000_000))
    printed = dvc(tmp_path, "repro")
    assert [f"Running stage '{name}'" in printed for name in stages] == [False, False, False, True]


def test_an_existing_file_and_an_output_elsewhere_are_refused(tmp_path: Path) -> None:
    chain = write_chain(tmp_path)
    (tmp_path / "dvc.yaml").write_text("mine\n")
    assert_one_line(fer_edge("chain", "export", "dvc", "chain.toml", cwd=tmp_path), 2, "dvc.yaml: already exists")
    assert (tmp_path / "dvc.yaml").read_text() == "mine\n"
    chain.write_text(CHAIN.replace('"out"', f'"{tmp_path}/out"'))
    done = fer_edge("chain", "export", "dvc", "chain.toml", "--out", "new.yaml", cwd=tmp_path)
    assert_one_line(done, 2, "DVC needs a folder below the current one")
    assert not (tmp_path / "new.yaml").exists()
