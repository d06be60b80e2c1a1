"""YuNet model files: which are accepted and which are refused, by the commands and by doctor."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from random import Random

import cv2
import pytest

from fer_edge.doctor.checks import Context, Verdict
from fer_edge.doctor.libraries import check_detector, check_opencv
from fer_edge.errors import ModelError
from fer_edge.settings.pipeline import YUNET_PAGE, DetectorSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.detection.yunet import YuNetFaceDetector
from support.cameras.scenes import FACE_IN_PORTRAIT, portrait
from support.environments.fresh_install import CHECKOUT
from support.models.detectors import find
from support.models.yunet import yunet_file
from support.processes.edge_command import assert_one_line, fer_edge
from support.results.findings import assert_found

PORTRAIT = Path(str(files("fer_edge") / "assets" / "astronaut.jpg"))
OTHER_MODEL = CHECKOUT / "models" / "fer-edge-s" / "onnx_float32.onnx"


def predict(model: object, cwd: Path, **more: str) -> tuple[int, str, str]:
    chosen = {"FER_EDGE_DETECTOR_KIND": "yunet", "FER_EDGE_DETECTOR_MODEL": str(model), **more}
    done = fer_edge("predict", PORTRAIT, "--json", cwd=cwd, settings=chosen)
    return done.returncode, done.stdout, done.stderr


def refused(model: object, cwd: Path, *parts: str) -> None:
    """Call the function behind the commands, which is faster. One command has its own test."""
    with pytest.raises(ModelError) as caught:
        YuNetFaceDetector(DetectorSettings(kind="yunet", model=str(cwd / str(model))))
    error = str(caught.value)
    assert "\n" not in error and len(error) < 600, error
    assert all(part in error for part in (str(model), *parts)), error
    assert error.count("detector.model") <= 1, error


def republished(path: Path) -> Path:
    """The model with an added comment (ModelProto.doc_string): it works, and its hash is unknown."""
    path.write_bytes(yunet_file().read_bytes() + b"\x32\x05later")
    return path


def test_the_command_finds_the_face(tmp_path: Path) -> None:
    code, out, error = predict(yunet_file(), tmp_path)
    assert (code, error) == (0, "")
    (face,) = json.loads(out)["images"][0]["faces"]
    assert 0.7 <= face["score"] <= 1
    assert abs(face["box"][0] - FACE_IN_PORTRAIT.x) < 20


def test_missing_and_special_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.onnx", tmp_path, "no such file", YUNET_PAGE)
    refused(tmp_path, tmp_path, "must be a file", YUNET_PAGE)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", tmp_path, "must be a file")
    refused("/dev/null", tmp_path, "must be a file")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", tmp_path, "cannot read")
    refused(tmp_path / ("x" * 300), tmp_path, "cannot read")


def test_other_content_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "model.onnx", yunet_file().read_bytes()
    for wrong, part in (
        (b"", "is empty"),
        (content[:-1], "OpenCV reports"),
        (content[: len(content) // 2], "OpenCV reports"),
        (b"<!DOCTYPE html><title>404</title>", "not a YuNet model"),
        (OTHER_MODEL.read_bytes(), "not a YuNet model"),
    ):
        path.write_bytes(wrong)
        refused(path, tmp_path, part, YUNET_PAGE)
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    refused(path, tmp_path, "more than 16 MiB")


def test_a_command_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(yunet_file().read_bytes()[:-1])
    code, out, error = predict(path, tmp_path)
    assert (code, out, error.count("\n")) == (4, "", 1)
    assert "model.onnx: not a YuNet model: OpenCV reports: " in error and YUNET_PAGE in error


def test_a_damaged_file_is_refused_without_a_crash(tmp_path: Path) -> None:
    """Some of these files crash OpenCV, others load and return nonsense."""
    content, random, codes = yunet_file().read_bytes(), Random(3), set()
    for number in range(8):
        damaged = bytearray(content)
        for place in random.sample(range(len(content)), 40):
            damaged[place] ^= 1 << random.randrange(8)
        path = tmp_path / f"damaged-{number}.onnx"
        path.write_bytes(damaged)
        try:
            faces = find(YuNetFaceDetector(DetectorSettings(kind="yunet", model=str(path))), portrait(), scale=0.5)
            codes.add(0)
            assert faces[0].box.iou(FACE_IN_PORTRAIT) > 0.5  # the damage has no effect
        except ModelError as error:
            codes.add(error.exit_code)
            assert str(path) in str(error) and "\n" not in str(error)
    assert 4 in codes


def test_an_unknown_file_that_finds_faces_is_accepted(tmp_path: Path) -> None:
    code, out, error = predict(republished(tmp_path / "later.onnx"), tmp_path)
    assert (code, error) == (0, "")
    assert len(json.loads(out)["images"][0]["faces"]) == 1


def test_inconsistent_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[detector]\nkind = "yunet"\n')
    result = fer_edge("run", "demo", "--config", "a.toml", cwd=tmp_path)
    assert_one_line(result, 2, "a.toml", "detector", "needs model", YUNET_PAGE)
    (tmp_path / "b.toml").write_text('[detector]\nmodel = "yunet.onnx"\n')
    assert_one_line(fer_edge("run", "demo", "--config", "b.toml", cwd=tmp_path), 2, "b.toml", 'kind = "yunet"')
    (tmp_path / "c.toml").write_text('[detector]\nkind = "dlib"\n')
    assert_one_line(fer_edge("run", "demo", "--config", "c.toml", cwd=tmp_path), 2, "'haar', 'yunet'")
    (tmp_path / "d.toml").write_text('[detector]\nkind = "yunet"\nmodel = "absent.onnx"\n')
    assert_one_line(fer_edge("run", "demo", "--config", "d.toml", cwd=tmp_path), 4, "absent.onnx", YUNET_PAGE)


def test_run_reports_the_face(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(f'[detector]\nkind = "yunet"\nmodel = "{yunet_file()}"\n')
    result = fer_edge("run", "demo", "--config", "own.toml", "--max-frames", 90, "--events", "-", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert '"appeared"' in result.stdout


def context(model: Path | None) -> Context:
    detector = DetectorSettings() if model is None else DetectorSettings(kind="yunet", model=str(model))
    return Context(RuntimeSettings(detector=detector))


def test_doctor(tmp_path: Path) -> None:
    assert_found(check_detector(context(None)), Verdict.OK, "Haar", YUNET_PAGE)
    assert_found(check_detector(context(yunet_file())), Verdict.OK, "YuNet 2023mar", "8f2383e4dd3c", "detects the face")
    later = republished(tmp_path / "later.onnx")
    assert_found(check_detector(context(later)), Verdict.WARN, "not a published", "detects the face")
    later.write_bytes(b"no model")
    for file, problem in ((later, str(later)), (tmp_path / "absent", "no such file"), (tmp_path, "cannot read")):
        found = check_detector(context(file))
        assert_found(found, Verdict.BAD, problem)
        assert YUNET_PAGE in str(found.fix) and YUNET_PAGE not in found.seen


def test_doctor_accepts_a_missing_cascade_with_yunet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    assert_found(check_opencv(context(yunet_file())), Verdict.OK, "5.0.0")
    assert_found(check_opencv(context(None)), Verdict.BAD, "5.0.0", "no Haar cascade")
