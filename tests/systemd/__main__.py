"""``make test-systemd``: the real unit under systemd as the first process, in a container."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from arm.rootfs import CHECKOUT, SUITES, kept
from arm.sandbox import run
from fer_edge.errors import CheckFailedError, FerEdgeError
from fer_edge.system.user_folders import cache_folder
from systemd.checks import CHECKS, INSTALLED, Check
from systemd.container import ENVIRONMENT, Container, booted, build, made_from, refuse_if_something_is_missing
from systemd.unit import CAMERA, CAMERA_PORT, UNIT, Service

_PROGRAMS = [Path(__file__).with_name(name) for name in ("camera.py", "hang.py")]


def main() -> None:
    """Prepare the root once, then provoke each fault; print a table of the observations."""
    parser = argparse.ArgumentParser(prog="make test-systemd", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="bookworm")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "systemd", help="where the root is kept")
    parser.add_argument("-k", dest="part", default="", metavar="WORDS", help="only the faults with WORDS in their name")
    arguments = parser.parse_args()
    # SIGTERM acts like Ctrl-C, so that the container is stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        refuse_if_something_is_missing()
        suite = SUITES[arguments.suite]
        with kept(arguments.cache.absolute(), suite.name, made_from(suite), partial(build, suite)) as folder:
            _check(folder / "root", [INSTALLED, *(check for check in CHECKS if arguments.part in check.fault)])
    except FerEdgeError as error:
        print(f"make test-systemd: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _check(root: Path, checks: list[Check]) -> None:
    failures = 0
    with tempfile.TemporaryDirectory(prefix="fer-edge-systemd-") as folder:
        wheel = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, CHECKOUT]
        run([sys.executable, "-m", "pip", "--disable-pip-version-check", *wheel])
        for program in _PROGRAMS:
            shutil.copy(program, folder)
        began = time.monotonic()
        with booted(root, Path(folder)) as container:
            _install(container)
            version = container.must("systemctl", "--version").split("\n", maxsplit=1)[0]
            print(f"{version}, up after {time.monotonic() - began:.0f} s\n", flush=True)
            print("| fault | what the unit promises | what the test saw |\n| --- | --- | --- |", flush=True)
            for check in checks:
                try:
                    seen = check.see(container, Service(container))
                except (CheckFailedError, subprocess.TimeoutExpired) as error:
                    failures += 1
                    seen = f"**failed**: {error}"
                    print(Service(container).journal()[-4000:], file=sys.stderr)
                print(f"| {check.fault} | {check.promise} | {seen} |", flush=True)
    if failures:
        raise CheckFailedError(f"{failures} of {len(checks)} checks of {UNIT} failed")


def _install(container: Container) -> None:
    install = f"{ENVIRONMENT}/bin/pip install --quiet --no-index --no-deps --force-reinstall /mnt/*.whl"
    container.must("sh", "-c", install)
    start = f"{ENVIRONMENT}/bin/python /mnt/camera.py {CAMERA_PORT}"
    container.write(f"/etc/systemd/system/{CAMERA}", f"[Service]\nExecStart={start}\n")
    container.must("systemctl", "start", CAMERA)


if __name__ == "__main__":
    main()
