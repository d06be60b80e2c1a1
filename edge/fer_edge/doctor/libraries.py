"""Checks of OpenCV, the face detector, the model, its interpreter and picamera2."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from timeit import timeit

from fer_edge.doctor.checks import Context, Finding, bad, ok, package_version, skipped, warn
from fer_edge.errors import FerEdgeError
from fer_edge.settings.pipeline import YUNET_FILE, YUNET_PAGE
from fer_edge.settings.runtime import ModelSettings

_MIN_OPENCV = (4, 10)
_INSTALL_OPENCV = "pip install 'opencv-python-headless>=4.10,<5'"
_RUNS = 20
_SEARCHES = 5
_NO_MODEL = "not used: emotion.enabled is off"


def check_opencv(context: Context) -> Finding:
    """Check the version of OpenCV and, if it is the configured detector, the Haar cascade, which OpenCV 5 lacks."""
    import cv2

    version = str(cv2.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    seen = f"{version} from {cv2.__file__}"
    if context.settings.detector.kind != "yunet":
        if numbers >= (5,):
            return bad(f"{version}: OpenCV 5 has no Haar cascade", f'{_INSTALL_OPENCV}, or detector.kind = "yunet"')
        from fer_edge.stages.detection.haar import load_cascade

        try:
            load_cascade()
        except FerEdgeError as error:
            return bad(str(error), _INSTALL_OPENCV)
        seen += ", cascade loaded"
    if numbers < _MIN_OPENCV:
        return warn(f"{seen}; versions before 4.10 are untested", _INSTALL_OPENCV)
    return ok(seen)


def check_detector(context: Context) -> Finding:
    """Check the configured detector: YuNet's file must be a published one and detect the face of a test image."""
    import numpy as np

    from fer_edge.stages.detection.yunet import YuNetFaceDetector
    from fer_edge.stages.detection.yunet_model import STRIDE, read_model, test_in_subprocess
    from fer_edge.types import Search

    detector = context.settings.detector
    if detector.kind != "yunet" or detector.model is None:
        return ok(f"Haar cascade; YuNet also detects turned faces: {YUNET_FILE} from {YUNET_PAGE}")
    try:
        file = read_model(Path(detector.model))
        test_in_subprocess(file)
        yunet = YuNetFaceDetector(detector)
    except FerEdgeError as error:
        # The file's name and address are in the advice.
        problem = re.split(f"; [^;]*{re.escape(YUNET_FILE)}", str(error))[0]
        return bad(problem, f"download {YUNET_FILE} from {YUNET_PAGE}")
    blank = np.full((10 * STRIDE, 10 * STRIDE), 128, dtype=np.uint8)
    search = Search.whole(blank)
    yunet.detect(blank, search)
    took_ms = 1e3 * timeit(lambda: yunet.detect(blank, search), number=_SEARCHES) / _SEARCHES
    seen = f"sha256 {file.sha256[:12]}…, detects the face of a test image; {took_ms:.1f} ms for 320x320 pixels"
    if file.name is None:
        return warn(
            f"{file.path} is not a published YuNet model known to this version: {seen}",
            f"unless intended, use {YUNET_FILE} from {YUNET_PAGE}",
        )
    return ok(f"{file.name}: {seen}")


def check_model(context: Context) -> Finding:
    """Check the model bundle and the hash of the configured variant."""
    from fer_edge.model.bundle import load_bundle

    model = context.settings.model
    if not context.settings.emotion.enabled:
        return ok(_NO_MODEL)
    try:
        with load_bundle(model.bundle) as bundle:
            variant = bundle.variant(model.variant)
            manifest = bundle.manifest
    except FerEdgeError as error:
        fix = "pip install --force-reinstall fer-edge" if model.bundle is None else "set another model.bundle"
        return bad(str(error), fix)
    return ok(f"{manifest.name} {manifest.version}, {variant.name}, sha256 {variant.sha256[:12]}… verified")


def check_inference(context: Context) -> Finding:
    """Run the model, and check that the XNNPACK delegate executes it."""
    import numpy as np

    from fer_edge.model.bundle import load_bundle
    from fer_edge.pipeline import reported_labels
    from fer_edge.stages.classification import EmotionClassifier

    model = context.settings.model
    if not context.settings.emotion.enabled:
        return ok(_NO_MODEL)
    try:
        with load_bundle(model.bundle) as bundle:
            reported_labels(bundle.manifest.labels, context.settings.emotion)
            classifier = EmotionClassifier.from_settings(bundle, model)
    except FerEdgeError as error:
        if model.bundle is not None and _bundled_model_works(model):
            return bad(
                f"{error} (the model in the package works)",
                f"convert {model.bundle} again, or set another model.bundle",
            )
        return bad(str(error), "pip install --force-reinstall ai-edge-litert")
    with classifier:
        size = classifier.crop_spec
        blank = np.zeros((size.height, size.width), dtype=np.uint8)
        took_ms = 1e3 * timeit(lambda: classifier.logits(blank), number=_RUNS) / _RUNS
        info = classifier.interpreter
    seen = f"{info.name} {info.version}, {took_ms:.2f} ms per face"
    if info.nodes is None:
        return warn(f"{seen}; unknown whether XNNPACK is used")
    delegated = f"{seen}, XNNPACK runs {info.delegated_nodes} of {info.nodes} nodes"
    if not info.delegated_nodes:
        return warn(
            f"{delegated}: about ten times slower than with XNNPACK", 'pip install ai-edge-litert; interpreter = "auto"'
        )
    return ok(delegated)


def _bundled_model_works(model: ModelSettings) -> bool:
    """Return whether the default bundle runs with the same interpreter: then the fault is the configured bundle's."""
    from fer_edge.model.bundle import load_bundle
    from fer_edge.stages.classification import EmotionClassifier

    try:
        with load_bundle() as bundle, EmotionClassifier(bundle, interpreter=model.interpreter):
            return True
    except FerEdgeError:
        return False


def check_picamera2(context: Context) -> Finding:
    """Check that picamera2 can be imported in this environment, with or without a camera."""
    from fer_edge.sources.picamera.source import import_picamera2

    named = _pi_cameras(context)
    if not named and importlib.util.find_spec("picamera2") is None:
        return skipped("not installed, and no source needs it")
    try:
        import_picamera2()
    except FerEdgeError as error:
        message, _, fix = str(error).partition(": sudo ")
        finding = bad if named else warn
        return finding(message, f"sudo {fix}" if fix else "install the versions in locks/")
    return ok(f"{package_version('picamera2') or ''} can be imported in this environment".lstrip())


def check_libcamera(context: Context) -> Finding:
    """Check that libcamera detects the configured cameras. Needs picamera2."""
    from fer_edge.sources.picamera.source import import_picamera2

    try:
        package = import_picamera2()
    except FerEdgeError:  # reported by check_picamera2
        return skipped("picamera2 cannot be imported")
    cameras = package.Picamera2.global_camera_info()
    ids = [str(camera.get("Id", "?")) for camera in cameras]
    listed = ", ".join(
        f'{camera.get("Model", "?")} as "picamera2:{known}"' for camera, known in zip(cameras, ids, strict=True)
    )
    seen = f"detects {len(cameras)} cameras" + (f": {listed}" if listed else "")
    missing = [
        which for which in _pi_cameras(context) if (which not in ids if isinstance(which, str) else which >= len(ids))
    ]
    if missing:
        return bad(f"{seen}, but not the configured {missing[0]}", "rpicam-hello --list-cameras; check the cable")
    return ok(seen)


def _pi_cameras(context: Context) -> list[int | str]:
    """Return the configured Raspberry Pi cameras: their indices or libcamera ids."""
    from fer_edge.sources.picamera.source import camera_of

    return [which for which in map(camera_of, context.settings.uris) if which is not None]
