"""``make fuzz``: run each fuzz target for a while in a separate process, and keep failing inputs.

With Atheris (``pip install atheris``), its coverage guides the changes; without it they are random. CI gives each
target 60 s of random changes, after the seeds and a fixed number of changes that are always the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from fuzz.mutate import mutate
from fuzz.seeds import all_targets
from fuzz.targets import Target

MAX_INPUT_S = 20
"""Seconds that one input may take."""
MAX_MEMORY_MIB = 4096
_SMOKE_RUNS = 300
_SMOKE_SEED = 21


def main() -> int:
    """Run the targets; 1 if an input failed."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=30.0, metavar="M", help="for all targets together (default: 30)"
    )
    parser.add_argument("--each", type=float, metavar="S", help="seconds of each target, instead of --minutes")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="targets at the same time (default: 1)")
    parser.add_argument(
        "--seed", type=int, help="of the random changes after the fixed ones (default: a new one, which is printed)"
    )
    parser.add_argument("--only", metavar="TARGET", help="one of the targets")
    parser.add_argument(
        "--smoke", action="store_true", help=f"the seeds and {_SMOKE_RUNS} changes of each, always the same"
    )
    parser.add_argument("--random", action="store_true", help="no coverage, even if Atheris is installed")
    parser.add_argument("--out", type=Path, default=Path(".fuzz"), metavar="DIR", help="keeps the inputs that fail")
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)  # the process of one target
    arguments = parser.parse_args()
    chosen = [target for target in all_targets() if arguments.only in (None, target.name)]
    if not chosen:
        parser.error(f"--only: unknown target; choose from {', '.join(target.name for target in all_targets())}")
    if arguments.seconds is not None:
        return _run_here(chosen[0], arguments)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1 << 32)
    seconds = arguments.each if arguments.each is not None else 60 * arguments.minutes / len(chosen)
    arguments.out.mkdir(parents=True, exist_ok=True)
    _say(f"seed {arguments.seed}")
    _say(f"{'target':<12} {'inputs':>9} {'seconds':>8}  result")
    failed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = pool.map(partial(_run_apart, seconds=seconds, arguments=arguments), chosen)
        for target, (runs, took_s, result) in zip(chosen, outcomes, strict=True):
            failed += result != "ok"
            _say(f"{target.name:<12} {runs:>9} {took_s:>8.0f}  {result}")
    return int(failed > 0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _run_apart(target: Target, seconds: float, arguments: argparse.Namespace) -> tuple[int, float, str]:
    """Run ``target`` in another process; return the number of inputs, the time in seconds, and the result."""
    flags = [flag for flag in ("smoke", "random") if getattr(arguments, flag)]
    command = [
        sys.executable,
        "-m",
        "fuzz",
        "--only",
        target.name,
        "--seconds",
        str(seconds),
        "--seed",
        str(arguments.seed),
        "--out",
        str(arguments.out),
    ]
    command += [f"--{flag}" for flag in flags]
    began = time.monotonic()
    with (arguments.out / f"{target.name}.log").open("w+") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
        log.seek(0)
        text = log.read()
    counts = re.findall(r"(?:^#|stat::number_of_executed_units: +|Done )(\d+)", text, flags=re.MULTILINE)
    runs = int(counts[-1]) if counts else 0
    result = "ok" if done.returncode == 0 else f"FAILED: {_reason(text)}; {arguments.out / target.name}*"
    return runs, time.monotonic() - began, result


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*\w*(Error|Exception)\b|.*ERROR: ", line)]
    return lines[-1][:100] if lines else "see the log"


def _run_here(target: Target, arguments: argparse.Namespace) -> int:
    seeds = target.seeds()
    if arguments.smoke or arguments.random or find_spec("atheris") is None:
        return _run_random(target, seeds, arguments)
    return _run_atheris(target, seeds, arguments)


def _run_random(target: Target, seeds: list[bytes], arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # also ends a native call that does not return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_MIB << 20, MAX_MEMORY_MIB << 20))
    chance, fixed = random.Random(_SMOKE_SEED), len(seeds) + _SMOKE_RUNS
    until, runs = time.monotonic() + arguments.seconds, 0
    newest = arguments.out / f"{target.name}-newest"
    while runs < fixed or (not arguments.smoke and time.monotonic() < until):
        if runs == fixed:
            chance = random.Random(arguments.seed)
        data = seeds[runs] if runs < len(seeds) else mutate(chance, seeds, target.max_bytes)
        newest.write_bytes(data)  # what a crash of native code leaves
        signal.alarm(MAX_INPUT_S)
        try:
            target.run(data)
        except Exception:  # noqa: BLE001 - this is what is looked for
            traceback.print_exc()
            name = hashlib.sha256(data).hexdigest()[:12]
            (arguments.out / f"{target.name}-{name}").write_bytes(data)
            _say(f"#{runs}")
            return 1
        runs += 1
    signal.alarm(0)
    newest.unlink()
    _say(f"#{runs}")
    os._exit(0)  # without waiting for servers of the targets


def _run_atheris(target: Target, seeds: list[bytes], arguments: argparse.Namespace) -> int:
    import atheris

    target.run(seeds[0])  # imports what it needs
    atheris.instrument_all()
    corpus = Path(tempfile.mkdtemp(prefix="fer-edge-corpus-"))
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    options = [
        f"-seed={arguments.seed % (1 << 31) or 1}",
        f"-max_total_time={max(1, round(arguments.seconds))}",
        f"-timeout={MAX_INPUT_S}",
        f"-rss_limit_mb={MAX_MEMORY_MIB}",
        f"-max_len={target.max_bytes}",
        f"-artifact_prefix={arguments.out / target.name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: target.run(data) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
