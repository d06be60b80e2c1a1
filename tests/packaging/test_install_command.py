"""The command that errors name for a missing extra installs it, however FER-Edge was installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.environments.fresh_install import CHECKOUT

EDGE = CHECKOUT / "edge"
METADATA = """\
Metadata-Version: 2.4
Name: fer-edge
Version: 9
Provides-Extra: web
Requires-Dist: numpy
Requires-Dist: waitress<4,>=3.0; extra == 'web'
Requires-Dist: prometheus-client>=0.21; extra == 'web'
Requires-Dist: paho-mqtt>=2.2; extra == 'mqtt'
"""


def command_of(folder: Path, origin: dict[str, object] | None) -> str:
    """Return the message in a Python whose FER-Edge has this metadata, without the path of pip."""
    info = folder / "site" / "fer_edge-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    code = f"import sys; sys.path.insert(0, {str(folder / 'site')!r}); from fer_edge.errors import install_command;"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print(install_command('web'))"], capture_output=True, text=True, check=True
    )
    pip, install, rest = done.stdout.strip().partition(" install ")
    assert Path(pip.split()[0]).parent == Path(sys.executable).parent and install
    return rest


@pytest.mark.parametrize(("editable", "flag"), [(True, "-e "), (False, "")])
def test_a_checkout_is_installed_again_as_it_was(tmp_path: Path, editable: bool, flag: str) -> None:
    checkout = tmp_path / "my checkout"
    checkout.mkdir()
    origin: dict[str, object] = {"url": checkout.as_uri(), "dir_info": {"editable": True} if editable else {}}
    assert command_of(tmp_path, origin) == f"{flag}'{checkout}[web]'"


def test_a_wheel_that_is_still_there_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "fer_edge-9-py3-none-any.whl"
    wheel.touch()
    assert command_of(tmp_path, {"url": wheel.as_uri(), "archive_info": {}}) == f"'{wheel}[web]'"


@pytest.mark.parametrize("origin", [None, {"url": "file:///gone/fer_edge-9.whl", "archive_info": {}}])
def test_otherwise_the_packages_are_named(tmp_path: Path, origin: dict[str, object] | None) -> None:
    assert command_of(tmp_path, origin) == "'waitress<4,>=3.0' 'prometheus-client>=0.21'"


def test_an_environment_without_pip_uses_the_system_s(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "card"], check=True)
    python = tmp_path / "card" / "bin" / "python"
    code = f"import sys; sys.path.insert(0, {str(EDGE)!r}); from fer_edge.errors import install_command;"
    done = subprocess.run(
        [python, "-c", f"{code} print(install_command('web'))"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{python} -m pip install ")
