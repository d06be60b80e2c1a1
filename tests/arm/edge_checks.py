"""The runtime's commands and tests in the sandbox: Haar, OpenCV and LiteRT together, as on a device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from arm.rootfs import CHECKOUT
from arm.sandbox import Sandbox
from fer_edge.errors import CheckFailedError
from fer_edge.types import Box

DEMO_FRAMES = 40
"""Enough of the demo scene for a face to appear and an emotion to be reported."""

TESTS = (
    *("images/test_files", "model/test_bundle", "model/test_interpreter", "model/test_quantization"),
    *("stages/test_classification", "stages/test_geometry", "stages/detection/test_haar"),
)
"""Files of tests/edge about arithmetic, models and pictures. Those that start many processes are too slow here."""


def check_commands(sandbox: Sandbox) -> str:
    """Compare ``predict`` and ``run demo`` here and under emulation; return one line. Raises CheckFailedError."""
    picture = CHECKOUT / "edge" / "fer_edge" / "assets" / "astronaut.jpg"
    here = json.loads(_here("predict", str(picture), "--json"))
    shown = {picture: "/face.jpg"}
    there = json.loads(sandbox.run_python("-m", "fer_edge", "predict", "/face.jpg", "--json", shown=shown))
    face, other = _only_face(here), _only_face(there)
    # The locks have different versions of OpenCV: a JPEG decoder or resampler may move the box by a pixel.
    if Box(*face["box"]).iou(Box(*other["box"])) < 0.9 or not _same_answer(face, other):
        raise CheckFailedError(f"predict: {other} instead of {face}")

    demo = ("run", "demo", "--max-frames", str(DEMO_FRAMES), "--events", "-")
    events = [json.loads(line) for line in _here(*demo).splitlines()]
    others = [json.loads(line) for line in sandbox.run_python("-m", "fer_edge", *demo, shown={}).splitlines()]
    # The scene's own clock, so that the same frames are searched on any machine.
    moments = [[(event["kind"], event["mono"]) for event in stream] for stream in (events, others)]
    answers = all(map(_same_answer, events, others))
    if not events or moments[0] != moments[1] or not answers:
        raise CheckFailedError(f"run demo: {others} instead of {events}")
    return f"predict: {other['emotion']} {other['confidence']} at {other['box']}; demo: {len(others)} events as here"


def check_tests(sandbox: Sandbox, tiny_bundle: Path) -> str:
    """Run TESTS under emulation on the installed wheel; of the checkout, only the tests are visible.

    Raises CheckFailedError if one fails.
    """
    shown = {CHECKOUT / name: f"/checkout/{name}" for name in ("tests", "pyproject.toml", "edge/config.example.toml")}
    output = sandbox.run_python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(f"tests/edge/{name}.py" for name in TESTS),
        shown={**shown, tiny_bundle: "/tiny-bundle"},
        environment={"TINY_BUNDLE": "/tiny-bundle"},
        cwd="/checkout",
    )
    return f"tests/edge ({', '.join(TESTS)}): {output.decode().splitlines()[-1]}"


def _here(*arguments: str) -> bytes:
    command = [sys.executable, "-m", "fer_edge", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CheckFailedError(f"on this machine: {done.stderr.decode().strip()}")
    return done.stdout


def _only_face(document: dict[str, Any]) -> dict[str, Any]:
    faces: list[dict[str, Any]] = document["images"][0]["faces"]
    if len(faces) != 1:
        raise CheckFailedError(f"predict: {len(faces)} faces instead of one")
    return faces[0]


def _same_answer(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["emotion"] is None or other["emotion"] is None:  # an event without an emotion, such as left
        return one["emotion"] is other["emotion"]
    return one["emotion"] == other["emotion"] and bool(abs(one["confidence"] - other["confidence"]) < 0.05)
