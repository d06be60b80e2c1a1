"""``fer-edge predict`` as a process: tables, JSON, annotated copies, refusals."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.model.labels import FER2013_LABELS
from support.cameras.scenes import FACE_IN_PORTRAIT, portrait
from support.processes.edge_command import (
    assert_one_line,
    face_picture,
    fer_edge,
    lines_of,
    undecodable_png,
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with ``two.png`` (two faces side by side), ``one.jpg`` and ``none.jpg``."""
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.jpg"), face_picture())
    cv2.imwrite(str(folder / "two.png"), np.hstack([face_picture()] * 2))
    cv2.imwrite(str(folder / "none.jpg"), np.full((200, 300), 120, np.uint8))
    return folder


def test_json_contains_every_face(tiny_bundle: Path, images: Path) -> None:
    result = fer_edge("predict", "--json", "two.png", "none.jpg", "--bundle", tiny_bundle, cwd=images)
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["bundle"], answer["variant"]) == ("tiny", "int8")
    two, none = answer["images"]
    assert (two["file"], two["width"], two["height"]) == ("two.png", 1280, 480)
    assert (none["file"], none["faces"]) == ("none.jpg", [])
    first, second = two["faces"]
    assert second["box"][0] - first["box"][0] == pytest.approx(640, abs=8)
    for face in two["faces"]:
        assert list(face["probabilities"]) == list(FER2013_LABELS)
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.001)
        assert face["confidence"] == max(face["probabilities"].values())
        assert face["probabilities"][face["emotion"]] == face["confidence"]


def test_a_face_of_low_quality_is_classified_and_its_fault_reported(tiny_bundle: Path, tmp_path: Path) -> None:
    sharp = portrait()
    cv2.imwrite(str(tmp_path / "sharp.png"), sharp)
    cv2.imwrite(str(tmp_path / "soft.png"), cv2.GaussianBlur(sharp, (0, 0), 5))
    cv2.imwrite(str(tmp_path / "fog.png"), cv2.addWeighted(sharp, 0.2, sharp, 0, 120))
    images = ("sharp.png", "soft.png", "fog.png")
    flags = ("--bundle", tiny_bundle, "--annotate", "seen")
    answer = json.loads(fer_edge("predict", *images, "--json", *flags, cwd=tmp_path).stdout)
    faces = [face for image in answer["images"] for face in image["faces"]]
    assert [face["fault"] for face in faces] == [None, "blurred", "low_contrast"]
    for face in faces:
        assert face["probabilities"][face["emotion"]] == face["confidence"] > 1 / len(FER2013_LABELS) - 1e-3
    # Grey, the colour of uncertain results, instead of the emotion's.
    x, y = faces[1]["box"][:2]
    colours = [cv2.imread(str(tmp_path / "seen" / f"{name}-annotated.jpg"))[y, x + 20] for name in ("sharp", "soft")]
    assert [int(np.ptp(colour.astype(int))) > 40 for colour in colours] == [True, False]
    rows = fer_edge("predict", *images, "--bundle", tiny_bundle, cwd=tmp_path).stdout.splitlines()[1:]
    assert [row.endswith("%") for row in rows] == [True, False, False]
    assert rows[1].endswith("%  blurred") and rows[2].endswith("%  low contrast")


def test_a_tall_picture_is_searched_like_in_run(tiny_bundle: Path, tmp_path: Path) -> None:
    """Find faces of a size that a search by the picture's width includes, and one by its longer side does not."""
    face = portrait()[20:220, 120:330]
    tall = np.full((2560, 700), 140, np.uint8)
    top = 20
    for side in (190, 110, 80, 60, 54):
        scale = side / FACE_IN_PORTRAIT.width
        smaller = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        tall[top : top + smaller.shape[0], 20 : 20 + smaller.shape[1]] = smaller
        top += smaller.shape[0] + 30
    cv2.imwrite(str(tmp_path / "tall.png"), tall)
    answer = json.loads(fer_edge("predict", "tall.png", "--json", "--bundle", tiny_bundle, cwd=tmp_path).stdout)
    assert fer_edge("run", "tall.png", "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path).returncode == 0
    (line,) = lines_of(tmp_path / "t.jsonl")
    faces, tracks = (sorted(found, key=itemgetter("box")) for found in (answer["images"][0]["faces"], line["tracks"]))
    assert len(faces) == 4
    for face_read, track in zip(faces, tracks, strict=True):
        assert track["box"] == pytest.approx(face_read["box"], abs=2)
        readable = face_read["fault"] is None
        assert track["confidence"] == (pytest.approx(face_read["confidence"], abs=0.05) if readable else 0)


def test_variants_of_one_bundle_agree(tiny_bundle: Path, images: Path) -> None:
    shares = []
    for variant in ("int8", "float32"):
        flags = ("--json", "--variant", variant, "--bundle", tiny_bundle)
        answer = json.loads(fer_edge("predict", "one.jpg", *flags, cwd=images).stdout)
        (face,) = answer["images"][0]["faces"]
        shares.append(list(face["probabilities"].values()))
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


def test_table_and_annotated_copies(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    same_name = tmp_path / "one.jpg"
    cv2.imwrite(str(same_name), face_picture()[:, ::-1])
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    result = fer_edge("predict", ".", same_name, "--annotate", ".", "--bundle", tiny_bundle, cwd=images)
    assert (result.returncode, result.stderr) == (0, "fer-edge: wrote 4 annotated copies to .\n")
    head, *rows = result.stdout.splitlines()
    assert head.split()[-8:] == [*FER2013_LABELS, "fault"]
    assert len(rows) == 5  # none.jpg, one.jpg, two faces of two.png, the other one.jpg
    assert "none.jpg" in rows[0]
    assert "no face found" in rows[0]
    for name, size in {
        "one-annotated.jpg": (480, 640),
        "one-annotated-2.jpg": (480, 640),
        "two-annotated.jpg": (480, 1280),
        "none-annotated.jpg": (200, 300),
    }.items():
        picture = cv2.imread(str(images / name))
        assert picture is not None
        assert picture.shape == (*size, 3)
        coloured = np.ptp(picture.astype(int), axis=2).max() > 60
        assert coloured == (name != "none-annotated.jpg")
    assert {name: (images / name).read_bytes() for name in before} == before


def test_bad_images_end_with_one_line(tiny_bundle: Path, images: Path) -> None:
    data = (images / "one.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(data[:-500])
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("no image")
    (images / "folder").mkdir()
    for name, said in {
        "empty.png": "empty",
        "missing.jpg": "no such file",
        "folder": "no images",
        "/dev/null": "neither a file nor a folder",
    }.items():
        result = fer_edge("predict", "one.jpg", name, "--bundle", tiny_bundle, cwd=images)
        assert_one_line(result, 2, name, said)
        assert result.stdout == ""
    for name, said in {"cut.jpg": "cut short", "text.jpg": "not a readable image"}.items():
        flags = ("--bundle", tiny_bundle, "--json")
        result = fer_edge("predict", "one.jpg", name, "two.png", *flags, cwd=images)
        assert_one_line(result, 2, name, said)
        assert [image["file"] for image in json.loads(result.stdout)["images"]] == ["one.jpg"]  # processed before it


def test_a_damaged_image_is_reported_in_one_line(tiny_bundle: Path, images: Path) -> None:
    (images / "bad.png").write_bytes(undecodable_png())
    assert_one_line(fer_edge("predict", "bad.png", "--bundle", tiny_bundle, cwd=images), 2, "bad.png")


def test_a_copy_never_overwrites_an_input(tiny_bundle: Path, images: Path) -> None:
    cv2.imwrite(str(images / "one-annotated.jpg"), np.full((100, 100), 90, np.uint8))
    (images / "one-annotated-2.jpg").symlink_to("none.jpg")
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    names = ("one.jpg", "one-annotated.jpg", "none.jpg")
    result = fer_edge("predict", *names, "--annotate", ".", "--json", "--bundle", tiny_bundle, cwd=images)
    assert result.returncode == 0
    answer = json.loads(result.stdout)["images"]
    assert [image["width"] for image in answer] == [640, 100, 300]
    assert answer[0]["annotated"] == "one-annotated-3.jpg"
    assert {name: (images / name).read_bytes() for name in before} == before


def test_output_that_cannot_be_written(tiny_bundle: Path, images: Path) -> None:
    (images / "file").touch()
    result = fer_edge("predict", "one.jpg", "--annotate", "file", "--bundle", tiny_bundle, cwd=images)
    assert_one_line(result, 6, "file")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            result = fer_edge("predict", "one.jpg", "--bundle", tiny_bundle, cwd=images, stdout=full.fileno())
        assert_one_line(result, 6, "No space left")


def test_a_large_photograph_keeps_its_pixels(tiny_bundle: Path, images: Path) -> None:
    cv2.imwrite(str(images / "large.jpg"), cv2.resize(face_picture(), (3200, 2400)))
    result = fer_edge("predict", "large.jpg", "--json", "--bundle", tiny_bundle, cwd=images)
    (image,) = json.loads(result.stdout)["images"]
    assert (image["width"], image["height"]) == (3200, 2400)
    # The drawn face is about 550 pixels wide; boxes are in pixels of the photograph.
    assert any(400 < face["box"][2] < 800 for face in image["faces"])


def test_the_environment_selects_the_model(tiny_bundle: Path, images: Path) -> None:
    chosen = {"FER_EDGE_MODEL_BUNDLE": str(tiny_bundle), "FER_EDGE_MODEL_VARIANT": "float32"}
    done = fer_edge("predict", "one.jpg", "--json", cwd=images, settings=chosen)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["bundle"], told["variant"]) == ("tiny", "float32")
    flag = fer_edge("predict", "one.jpg", "--json", "--variant", "int8", cwd=images, settings=chosen)
    assert json.loads(flag.stdout)["variant"] == "int8"
