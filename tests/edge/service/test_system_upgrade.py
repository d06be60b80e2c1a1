"""A system upgrade replaces the Python that the environment of the service was created with."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from fer_edge.doctor.checks import Context, Verdict
from fer_edge.doctor.service import check_unit
from fer_edge.service.install import unit_text
from fer_edge.service.program import Program
from fer_edge.service.state import environment_problem, unit_problem
from support.processes.programs import script
from version_locks.environments import find_python

VERSIONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class System:
    """``python3`` is the system's Python, ``command`` the fer-edge of an environment created with it."""

    python3: Path
    command: Path

    def upgrade(self, python: Path) -> None:
        """Link ``python3`` to another Python, as an upgrade of Debian does, or to a missing one."""
        self.python3.unlink()
        self.python3.symlink_to(python)

    def condition(self) -> subprocess.CompletedProcess[str]:
        """Run the unit's ExecCondition= as systemd would."""
        text = unit_text(Program(self.command), Path("/etc/fer-edge/config.toml")).replace("\\\n", "")
        (line,) = re.findall(r"^ExecCondition=(.*)$", text, flags=re.MULTILINE)
        words = shlex.split(line.replace("$$", "$").replace("%%", "%"))
        return subprocess.run(words, capture_output=True, text=True, check=False)


def python(version: str) -> Path:
    """Return the path of python3.N itself; skip the test if it is not installed."""
    found = find_python(version)
    if found is None:
        pytest.skip(f"needs Python {version}")
    asked = [str(found), "-c", "import os, sys; print(os.path.realpath(sys._base_executable))"]
    path = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    if path.name != f"python{version}":
        pytest.skip(f"needs Python {version} as python{version}, not {path}")
    return path


@pytest.fixture
def system(tmp_path: Path) -> System:
    python3 = tmp_path / "bin" / "python3"
    python3.parent.mkdir()
    python3.symlink_to(python("3.11"))
    home = tmp_path / "fer-edge"
    subprocess.run([python3, "-m", "venv", "--without-pip", home], check=True)
    packages = home / "lib" / "python3.11" / "site-packages"
    (packages / "fer_edge").symlink_to(Path(sys.modules["fer_edge"].__path__[0]))
    command = home / "bin" / "fer-edge"
    # As pip writes it.
    command.write_text(f"#!{home}/bin/python3\nfrom fer_edge.commands.cli import program\nprogram()\n")
    command.chmod(0o755)
    return System(python3, command)


def runs(command: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, "--version"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"})


def test_the_original_python_is_accepted(system: System) -> None:
    assert runs(system.command).returncode == 0
    assert environment_problem(system.command) is None
    done = system.condition()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_another_version_is_reported_and_not_started(system: System, version: str) -> None:
    system.upgrade(python(version))
    assert "No module named 'fer_edge'" in runs(system.command).stderr  # the error without the check
    done = system.condition()
    home = system.command.parents[1]
    assert done.returncode == 1
    assert done.stderr == (
        f"fer-edge: {home} was created with another Python (python3 is now python{version}): reinstall FER-Edge\n"
    )
    assert environment_problem(system.command) == f"{home} was created with python3.11, but python3 is python{version}"
    # Created again for this Python, it works.
    subprocess.run([system.python3, "-m", "venv", "--clear", "--without-pip", home], check=True)
    assert (system.condition().returncode, environment_problem(system.command)) == (0, None)


def test_a_removed_python_is_reported(system: System) -> None:
    removed = system.python3.with_name("python3.10")
    system.upgrade(removed)
    done = system.condition()
    assert done.returncode == 1
    assert f"({removed} does not exist): reinstall FER-Edge" in done.stderr and done.stderr.count("\n") == 1
    assert (
        environment_problem(system.command)
        == f"{system.command.parents[1]} was created with another Python: {removed} does not exist"
    )


def test_the_message_names_the_link_to_the_release(system: System) -> None:
    """/opt/fer-edge/current is a link to a release."""
    current = system.command.parents[1].with_name("current")
    current.symlink_to(system.command.parents[1])
    linked = System(system.python3, current / "bin" / "fer-edge")
    assert (linked.condition().returncode, environment_problem(linked.command)) == (0, None)
    system.upgrade(Path("/nowhere/python3.11"))
    assert f"fer-edge: {current} was created" in linked.condition().stderr
    assert str(environment_problem(linked.command)).startswith(f"{current} was created")


@pytest.mark.parametrize("made", ["nothing", "a script alone", "an environment with a copied Python"])
def test_other_installations_are_accepted(tmp_path: Path, made: str) -> None:
    """A system package has no pyvenv.cfg, and the name of a copied Python does not contain its version."""
    command = tmp_path / "bin" / "fer-edge"
    if made != "nothing":
        command.parent.mkdir()
        script(command, "exit 0")
    if made.startswith("an environment"):
        (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n")
        shutil.copy("/bin/sh", command.with_name("python3"))
    assert environment_problem(command) is None
    assert System(command, command).condition().returncode == 0


def test_doctor_and_status_report_it(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake systemctl knows the unit file; the program runs in another environment."""
    unit = tmp_path / "fer-edge.service"
    unit.write_text(unit_text(Program(system.command), Path("/etc/fer-edge/config.toml")))
    (tmp_path / "tools").mkdir()
    answer = textwrap.dedent(
        f"""\
        cat <<'END'
        LoadState=loaded
        ActiveState=inactive
        SubState=dead
        UnitFileState=enabled
        Result=exec-condition
        FragmentPath={unit}
        END"""
    )
    script(tmp_path / "tools" / "systemctl", answer)
    script(tmp_path / "tools" / "journalctl", "exit 0")
    path = f"{tmp_path / 'tools'}:/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    context = Context(root=tmp_path)
    assert check_unit(context).verdict is Verdict.WARN  # inactive
    system.upgrade(system.python3.with_name("python3.10"))
    finding = check_unit(context)
    assert finding.verdict is Verdict.BAD and "python3.10 does not exist" in finding.seen
    status = [sys.executable, "-m", "fer_edge", "service", "status"]
    done = subprocess.run(status, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "python3.10 does not exist; reinstall FER-Edge in a new environment\n" in done.stdout


def test_an_unreadable_unit_is_ignored(tmp_path: Path) -> None:
    assert unit_problem(tmp_path / "missing.service") is None
    (tmp_path / "odd.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert unit_problem(tmp_path / "odd.service") is None
