"""Measurements for ``fer-edge doctor --report``, each in a subprocess because drivers may crash or hang."""

from __future__ import annotations

import json
import statistics
import time
import timeit
from typing import Any

from fer_edge.doctor.runner import ExitedError, ask, serve
from fer_edge.errors import FerEdgeError, reason_of
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.runtime import RuntimeSettings

_CAMERA_S = 4.0
"""Duration of a camera measurement, seconds."""
_MAX_FIRST_FRAME_S = 15.0
"""Timeout for the first frame, seconds."""
_WARM_UP, _RUNS = 5, 50


def measure(part: str, settings: RuntimeSettings, deadline_s: float, camera: str = "") -> Any:
    """Run one measurement in a subprocess and return its result; on failure, a dict with the key ``problem``.

    Args:
        part: ``cameras`` (list libcamera's cameras), ``camera`` (read frames from one) or ``model`` (time inference).
        settings: The settings of camera and model.
        deadline_s: Timeout of the subprocess, seconds.
        camera: The source to read from, if ``part`` is ``camera``.
    """
    request = {"part": part, "camera": camera, "settings": to_table(settings)}
    try:
        return json.loads(next(ask("fer_edge.doctor.measure", request, deadline_s)))
    except TimeoutError as error:
        return {"problem": str(error)}
    except ExitedError as error:
        return {"problem": f"the measurement {error}"}


def list_cameras(settings: RuntimeSettings, _: str) -> Any:
    """Return libcamera's version and cameras; None and an empty list without picamera2."""
    from importlib.util import find_spec

    if find_spec("picamera2") is None:
        return {"libcamera": None, "cameras": []}
    from fer_edge.sources.picamera.source import import_picamera2

    package = import_picamera2()
    import libcamera

    found = package.Picamera2.global_camera_info()
    version = str(libcamera.CameraManager.singleton().version)
    cameras = [{"source": f"picamera2:{camera['Id']}", "model": str(camera.get("Model", ""))} for camera in found]
    return {"libcamera": version, "cameras": cameras}


def measure_camera(settings: RuntimeSettings, uri: str) -> dict[str, Any]:
    """Return timing, sensor modes and frame rate of the camera ``uri``, and the mean grey level; no image."""
    from fer_edge.sources.camera import open_camera
    from fer_edge.sources.picamera.source import Picamera2Source, open_picamera2
    from fer_edge.types import Frame

    began = time.monotonic()
    unopened = open_picamera2(uri, settings.source, "report") or open_camera(uri, settings.source, "report")
    assert unopened is not None, uri
    source = unopened.open()
    opened = time.monotonic()
    frames: list[Frame] = []
    ages_s: list[float] = []
    until = opened + _MAX_FIRST_FRAME_S
    while time.monotonic() < until:
        frame = source.read(0.2)
        if not isinstance(frame, Frame):
            continue
        if not frames:
            first, until = time.monotonic(), time.monotonic() + _CAMERA_S
        ages_s.append(time.monotonic() - frame.captured_at)
        frames = [*frames[:1], frame]
    seen = time.monotonic()
    source.close()
    closed = time.monotonic()
    mode, modes = (source.mode, source.modes) if isinstance(source, Picamera2Source) else (None, ())
    result: dict[str, Any] = {
        "opened_s": round(opened - began, 3),
        "close_s": round(closed - seen, 3),
        "sensor_mode": str(mode) if mode else None,
        "sensor_modes": [
            {
                "size": list(one.size),
                "bit_depth": one.bit_depth,
                "max_fps": round(one.max_fps, 2),
                "crop": list(one.crop),
            }
            for one in modes
        ],
        "fps_reported": round(source.fps, 2),
        "frames": len(ages_s),
    }
    if not frames:
        return result | {"problem": f"no frame within {_MAX_FIRST_FRAME_S:g} s"}
    last = frames[-1]
    spanned_s = last.captured_at - frames[0].captured_at
    return result | {
        "first_frame_s": round(first - opened, 3),
        "fps_measured": round((len(ages_s) - 1) / spanned_s, 2) if spanned_s > 0 else None,
        "age_ms": round(1e3 * statistics.median(ages_s), 1),
        "width": last.gray.shape[1],
        "height": last.gray.shape[0],
        "mean_grey": round(float(last.gray.mean()), 1),
    }


def time_model(settings: RuntimeSettings, _: str) -> dict[str, Any]:
    """Return the interpreter and the inference time of one face."""
    import numpy as np

    from fer_edge.model.bundle import load_bundle
    from fer_edge.stages.classification import EmotionClassifier

    with load_bundle(settings.model.bundle) as bundle:
        manifest = bundle.manifest
        classifier = EmotionClassifier.from_settings(bundle, settings.model)
    with classifier:
        size = classifier.crop_spec
        crop = np.random.default_rng(0).integers(0, 256, (size.height, size.width), dtype=np.uint8)
        took_s = timeit.repeat(lambda: classifier.logits(crop), number=1, repeat=_WARM_UP + _RUNS)
        info = classifier.interpreter
    measured_ms = sorted(1e3 * took for took in took_s[_WARM_UP:])
    return {
        # The name of a user's bundle may be personal.
        "name": manifest.name if settings.model.bundle is None else None,
        "version": manifest.version if settings.model.bundle is None else None,
        "variant": settings.model.variant,
        "interpreter": info.name,
        "interpreter_version": info.version,
        "nodes": info.nodes,
        "delegated_nodes": info.delegated_nodes,
        "runs": _RUNS,
        "median_ms": round(statistics.median(measured_ms), 3),
        "p95_ms": round(measured_ms[int(0.95 * _RUNS)], 3),
    }


_PARTS = {"cameras": list_cameras, "camera": measure_camera, "model": time_model}


def _answer(request: dict[str, Any]) -> list[str]:
    settings = decode(RuntimeSettings, request["settings"], "report")
    try:
        result = _PARTS[request["part"]](settings, request["camera"])
    except FerEdgeError as error:
        result = {"problem": reason_of(error)}
    except Exception as error:  # noqa: BLE001 - drivers raise any exception; the report lists it
        result = {"problem": f"{type(error).__name__}: {error}"}
    return [json.dumps(result) + "\n"]


if __name__ == "__main__":
    serve(_answer)
