"""``make test-v4l2``: test V4L2 cameras in a virtual machine with the kernel's drivers for test cameras."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from v4l2_vm.machine import CACHE, run_in_machine
from v4l2_vm.parts import machine_parts

_FOLDER = Path(__file__).with_name("scenarios")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A program of ``scenarios/``, which runs in its own virtual machine; exit 0 is success."""

    name: str
    systemd: bool
    timeout_s: float
    arguments: Sequence[str] = ()


SCENARIOS = (
    Scenario("short", systemd=False, timeout_s=600),
    Scenario("camera", systemd=False, timeout_s=900),
    Scenario("usb", systemd=False, timeout_s=900),
    Scenario("service", systemd=True, timeout_s=1500),
    Scenario("formats", systemd=False, timeout_s=1500),
    Scenario("night", systemd=False, timeout_s=900),
    Scenario("openings", systemd=False, timeout_s=900),
)
"""Their limits leave room for a machine that is busy with other things."""


def main() -> None:
    """Run the scenarios one after the other, each in a new machine."""
    parser = argparse.ArgumentParser(prog="make test-v4l2", description=__doc__)
    parser.add_argument("-k", dest="part", default="", metavar="WORDS", help="only scenarios with WORDS in their name")
    parser.add_argument("--out", type=Path, help="keep each scenario's console and files below this folder")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="fer-edge-v4l2-") as scratch:
            _run(arguments.part, arguments.out or Path(scratch))
    except FerEdgeError as error:
        print(f"make test-v4l2: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(part: str, out: Path) -> None:
    try:
        machine_parts(CACHE)
    except InputError as error:
        print(f"make test-v4l2: skipped: {error}")
        return
    chosen = [scenario for scenario in SCENARIOS if part in scenario.name]
    if not chosen:
        raise InputError(f"-k {part}: only {', '.join(scenario.name for scenario in SCENARIOS)}")
    failed = []
    for scenario in chosen:
        print(f"\n{scenario.name}", flush=True)
        try:
            run_scenario(scenario, out / scenario.name)
        except CheckFailedError as error:
            print(error, file=sys.stderr)
            failed.append(scenario.name)
    if failed:
        raise CheckFailedError(f"failed: {', '.join(failed)}")


def run_scenario(scenario: Scenario, out: Path) -> str:
    """Run a scenario and return the console output of its machine.

    Raises:
        InputError: if the machine cannot be started here.
        CheckFailedError: if the scenario fails or exceeds its time limit.
    """
    command = [sys.executable, str(_FOLDER / f"{scenario.name}.py"), *scenario.arguments]
    ended = run_in_machine(command, out, timeout_s=scenario.timeout_s, systemd=scenario.systemd)
    print(f"({scenario.name}: {ended.took_s:.0f} s)", flush=True)
    if ended.status:
        raise CheckFailedError(f"{scenario.name}: exit {ended.status}")
    return ended.console


if __name__ == "__main__":
    main()
