"""``deploy/install.sh``: for real in a temporary folder, without the service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.environments.fresh_install import CHECKOUT, locked, run_installed
from support.processes.edge_command import clean_environment
from support.processes.terminal import Terminal
from support.servers.apt_repository import Repository, make_deb, needs_apt, served

SCRIPT = CHECKOUT / "deploy" / "install.sh"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder in which ``python3`` is the interpreter that the tests' environment was made with."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    yield folder


def environment(python: Path) -> dict[str, str]:
    return {**clean_environment(), "PATH": f"{python}:{os.environ['PATH']}"}


def install(python: Path, *words: object, cwd: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell, str(SCRIPT), *map(str, words)],
        cwd=cwd,
        env=environment(python),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.startswith("install.sh: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck: apt-get install shellcheck")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], check=False)
    assert done.returncode == 0


def test_what_will_be_done_is_printed_and_nothing_changed(python: Path, tmp_path: Path) -> None:
    done = install(python, "--dry-run", "--dir", tmp_path / "env", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"This installs FER-Edge from {CHECKOUT}:" in done.stdout
    for part in (f"environment in {tmp_path}/env", "extras mqtt,web,update", "/etc/fer-edge", "--uninstall"):
        assert part in done.stdout
    assert not (tmp_path / "env").exists()


def test_it_asks_and_takes_no_for_an_answer(python: Path, tmp_path: Path) -> None:
    for answer in ("", "n", "no"):
        command = ["sh", str(SCRIPT), "--no-service", "--dir", str(tmp_path / "env")]
        terminal = Terminal(command, tmp_path, environment(python))
        terminal.answer(r"Continue\? \[y/N\] ", answer)
        assert terminal.end() == 1
        assert "Nothing was changed." in terminal.said
    assert not (tmp_path / "env").exists()


def test_bad_usage_is_one_line(python: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "card" / "current").mkdir(parents=True)
    there = ("--no-service", "--yes", "--dir")
    assert_refused(install(python, "--no-service", "--dir", tmp_path / "env", cwd=tmp_path), "add --yes")
    assert_refused(install(python, "--bogus", cwd=tmp_path), "unknown option --bogus", "--help")
    assert_refused(install(python, "--dir", cwd=tmp_path), "--dir needs a value")
    assert_refused(install(python, *there, "env", cwd=tmp_path), "--dir env", "absolute")
    assert_refused(install(python, *there, tmp_path / "full", cwd=tmp_path), "full", "not a virtual environment")
    assert_refused(install(python, *there, tmp_path / "card", cwd=tmp_path), "fer-edge deploy")
    assert_refused(install(python, *there, tmp_path / "env", "--uninstall", cwd=tmp_path), "nothing is installed there")
    if not Path("/run/systemd/system").exists():
        assert_refused(install(python, "--yes", "--dir", tmp_path / "env", cwd=tmp_path), "--no-service")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card", "full"]


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\necho 3.9\n")
    (tmp_path / "python3").chmod(0o755)
    done = install(tmp_path, "--no-service", "--yes", "--dir", tmp_path / "env", cwd=tmp_path)
    assert_refused(done, "python3 is 3.9", "3.11, 3.12 or 3.13")


def has_index() -> bool:
    index = [sys.executable, "-m", "pip", "index", "versions", "hatchling"]
    return subprocess.run(index, capture_output=True, timeout=120, check=False).returncode == 0


@pytest.mark.slow
def test_it_installs_updates_and_removes(python: Path, tmp_path: Path) -> None:
    if not has_index():
        pytest.skip("needs a package index")
    folder = tmp_path / "env"
    options = ("--no-service", "--yes", "--dir", folder)
    done = install(python, *options, cwd=tmp_path, shell=shutil.which("dash") or "sh")
    assert done.returncode == 0, done.stderr
    assert "This installs" in done.stdout and f"{folder}/bin/fer-edge doctor" in done.stdout
    program = folder / "bin" / "fer-edge"
    assert "include-system-site-packages = true" in (folder / "pyvenv.cfg").read_text()
    seen = run_installed([program, "run", "demo", "--max-frames", "20"], tmp_path)
    assert seen.returncode == 0 and "\n20 frames, " in seen.stdout, seen
    where = "import fer_edge, numpy, paho.mqtt, tuf, waitress; print(numpy.__version__, fer_edge.__file__)"
    numpy, file = run_installed([folder / "bin" / "python", "-c", where], tmp_path).stdout.split()
    assert Path(file).is_relative_to(folder)
    lock = {(3, 11): "pi-bookworm", (3, 13): "pi-trixie"}.get(sys.version_info[:2])
    assert lock is None or numpy == locked(lock)["numpy"]
    # Another installation replaces the program, also if its version is the same.
    Path(file).write_text("raise ImportError('damaged')\n")
    (tmp_path / "settings.toml").write_text("")
    again = install(python, *options, cwd=tmp_path)
    assert again.returncode == 0 and "This updates" in again.stdout, again.stderr
    assert re.match(r"fer-edge \d", run_installed([program, "--version"], tmp_path).stdout)
    removed = install(python, *options, "--uninstall", cwd=tmp_path)
    assert removed.returncode == 0 and f"{folder} is removed" in removed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]


@pytest.fixture
def apt_root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with an apt.conf, into which apt installs, from a repository with python3-picamera2 as that of the Pi."""
    # The path of a socket of gpg's agent must be short.
    repository = Repository(
        tmp_path_factory.mktemp("apt") / "repository", subprocess.getoutput("dpkg --print-architecture")
    )
    module = {"usr/lib/python3/dist-packages/picamera2/__init__.py": ""}
    make_deb(repository.pool, "python3-picamera2", files=module)
    repository.publish()
    root = tmp_path / "root"
    for folder in ("lib/dpkg/info", "lib/apt/lists/partial", "cache/apt/archives/partial", "log/apt"):
        (root / "var" / folder).mkdir(parents=True)
    (root / "etc/apt/apt.conf.d").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "key.pgp").write_bytes(repository.key)
    with served(repository):
        (root / "etc/apt/sources.list").write_text(f"deb [signed-by={root}/key.pgp] {repository.url} stable main\n")
        (root / "apt.conf").write_text(
            f'Dir "{root}/"; Dir::State::status "{root}/var/lib/dpkg/status"; APT::Sandbox::User "root";'
            f' Dpkg::Options {{ "--root={root}"; "--force-not-root"; }};\n'
        )
        yield root
    repository.close()


@needs_apt
def test_picamera2_is_installed_where_the_archive_has_it(python: Path, apt_root: Path, tmp_path: Path) -> None:
    if subprocess.run([python / "python3", "-c", "import picamera2"], capture_output=True, check=False).returncode == 0:
        pytest.skip("this Python has picamera2")
    settings = {**environment(python), "APT_CONFIG": str(apt_root / "apt.conf")}
    command = ["sh", str(SCRIPT), "--dir", str(tmp_path / "env")]

    def told(*words: str) -> str:
        return subprocess.run([*command, *words], env=settings, capture_output=True, text=True, check=True).stdout

    assert "python3-picamera2" not in told("--dry-run")  # as with the archive of Debian
    subprocess.run(["apt-get", "-q", "update"], env=settings, capture_output=True, check=True)
    assert "Debian packages: python3-picamera2\n" in told("--dry-run")
    assert "python3-picamera2" not in told("--dry-run", "--no-service")
    if os.getuid() != 0:
        pytest.skip("needs root")
    # The folder of systemd lets the script continue; pip, without an index, ends it after Debian's packages.
    inside = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside, "sh", *command, "--yes"],
        cwd=tmp_path,
        env={**settings, "PIP_NO_INDEX": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (apt_root / "usr/lib/python3/dist-packages/picamera2/__init__.py").is_file(), done
    assert done.returncode != 0 and "No matching distribution" in done.stderr, done
