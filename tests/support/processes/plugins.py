"""An installed package whose commands for ``fer-edge`` fail, each in another way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.processes.edge_command import clean_environment, command_line

PLUGIN = """
import errno, os, sys, time
from fer_edge.commands.cli import Command

def failing(problem):
    def run(arguments):
        raise problem
    return Command("fails", lambda parser: None, run)

def wait(arguments):
    sys.stdout.write("waiting\\n")
    sys.stdout.flush()
    time.sleep(60)
    return 0

def turn_into_import_error(arguments):
    # As pybind11 does with what is raised while it loads an extension module.
    try:
        wait(arguments)
    except BaseException as error:
        raise ImportError("initialization failed") from error

defect = failing(ZeroDivisionError("division by zero"))
full = failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/where"))
forever = Command("waits", lambda parser: None, wait)
loading = Command("loads", lambda parser: None, turn_into_import_error)
"""

ENTRY_POINTS = """
[fer_edge.commands]
broken = fer_no_such_package.commands:BROKEN
renamed = fer_plugin:gone
defect = fer_plugin:defect
full = fer_plugin:full
forever = fer_plugin:forever
loading = fer_plugin:loading
bench accuracy = fer_plugin:defect
bench added = fer_plugin:full
bench broken = fer_no_such_package.commands:BROKEN
demo added = fer_plugin:full
broken added = fer_plugin:full
"""


def install_plugins(folder: Path) -> None:
    """Install the package into ``folder``."""
    (folder / "fer_plugin.py").write_text(PLUGIN)
    about = folder / "fer_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fer-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)


def with_plugins(plugins: Path) -> dict[str, str]:
    environment = clean_environment()
    places = [str(plugins), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def run(*arguments: object, plugins: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(*arguments),
        cwd=plugins,
        env=with_plugins(plugins),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
