"""Unusual images in a set, which are read like others, and unreadable ones, which are reported by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import InputError
from fer_edge.images.files import read_gray
from fer_edge.settings.base import decode
from fer_train.data.dataset import Dataset
from fer_train.data.sets import load_sets
from fer_train.exploring import page
from fer_train.exploring.survey import survey
from fer_train.recipe.data import DataSettings
from support.data.image_sets import recipe_text, write_image_set
from support.environments.fresh_install import CHECKOUT
from support.training.mini_run import assert_refused, fer_edge

TWO = {"angry": "angry", "happy": "happy"}
ASTRONAUT = CHECKOUT / "edge/fer_edge/assets/astronaut.jpg"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_image_set(tmp_path / "faces", TWO, count=4)


def read(path: Path, labels: tuple[str, ...] = ("angry", "happy"), *, skip_bad: bool = False) -> Dataset:
    settings = decode(DataSettings, {"labels": labels, "sets": [{"path": str(path)}]}, "test")
    return load_sets(settings, skip_bad=skip_bad, cache=False)


def test_odd_kinds_of_images_are_read_as_the_plain_one(tmp_path: Path) -> None:
    colour = Image.open(ASTRONAUT)
    gray = colour.convert("L")
    clear = colour.convert("RGBA")
    clear.putalpha(0)
    turned = Image.Exif()
    turned[274] = 6  # a quarter turn to the right brings it upright
    colour.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(tmp_path / "sixteen-bits.png")
    clear.save(tmp_path / "clear.png")
    colour.save(tmp_path / "moving.webp", save_all=True, append_images=[colour.rotate(90)], lossless=True)
    colour.save(tmp_path / "pages.tif", save_all=True, append_images=[colour.rotate(90)])
    colour.save(tmp_path / "progressive.jpg", progressive=True, quality=95)
    colour.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    expected = read_gray(ASTRONAUT).astype(float)
    for path in tmp_path.iterdir():
        assert np.abs(read_gray(path) - expected).mean() < 2.5, path.name


@pytest.mark.parametrize("kind", ["empty", "text", "link to nowhere", "link to itself", "pipe", "too large"])
def test_what_is_no_image_is_named_or_left_out_and_counted(faces: Path, kind: str) -> None:
    bad = faces / "happy" / "bad.png"
    if kind == "pipe":
        os.mkfifo(bad)
    elif kind.startswith("link"):
        bad.symlink_to(bad.name if kind == "link to itself" else "nothing.png")
    elif kind == "too large":  # according to its header, the only part that must exist
        _, png = cv2.imencode(".bmp", np.zeros((8, 8), np.uint8))
        content = bytearray(png.tobytes())
        content[18:26] = (60_000).to_bytes(4, "little") * 2
        bad = bad.with_suffix(".bmp")
        bad.write_bytes(content)
    else:
        bad.write_text("" if kind == "empty" else "hello")
    with pytest.raises(InputError, match=rf"happy/{bad.name}: .*skip_bad"):
        read(faces)
    dataset = read(faces, skip_bad=True)
    assert (dataset.skipped_rows, sum(map(len, dataset.splits.values()))) == (1, 8)
    assert f"happy/{bad.name}" in dataset.notes[0]


def test_files_of_other_kinds_are_passed_over_and_told(faces: Path) -> None:
    for name in ("face.gif", "FACE.GIF", "face.heic", "README", ".DS_Store"):
        (faces / "happy" / name).write_bytes(b"anything")
    assert read(faces).notes == ("4 files were passed over, of kinds that are not read: 2 .gif, 1 .heic, 1 README",)


def test_a_name_in_another_encoding_does_not_spoil_the_page(faces: Path) -> None:
    (faces / "happy" / os.fsdecode(b"b\xff.png")).write_bytes(b"")
    dataset = read(faces, skip_bad=True)
    assert "b\ufffd.png" in page.to_html(survey(dataset), []).encode().decode()


def test_an_accent_of_its_own_is_the_same_name(tmp_path: Path) -> None:
    """File names as written by macOS; a recipe has the other Unicode form."""
    apart = {unicodedata.normalize("NFD", "fröhlich"): "happy", "ärgerlich": "angry"}
    root = write_image_set(tmp_path / "gesichter", apart, count=3)
    assert sum(map(len, read(root, ("fröhlich", "ärgerlich")).splits.values())) == 6


def test_folders_that_may_not_be_read_are_not_taken_for_empty_ones(faces: Path, tmp_path: Path) -> None:
    # Root can read every file unless it drops that capability.
    humbly = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if humbly and shutil.which(humbly[0]) is None:
        pytest.skip("setpriv (util-linux) is not installed")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(faces, ("angry", "happy"), {}))
    for closed in (faces / "happy", faces):
        closed.chmod(0)
        done = subprocess.run(
            [*humbly, sys.executable, "-m", "fer_edge", "data", "audit", recipe],
            capture_output=True,
            text=True,
            check=False,
        )
        closed.chmod(0o755)
        assert_refused(done, 2, f"{closed}: cannot be read: Permission denied")


def test_links_that_lead_back_are_not_followed(faces: Path, tmp_path: Path) -> None:
    (faces / "happy" / "again").symlink_to("..")
    assert sum(map(len, read(faces).splits.values())) == 8
    (faces / "more").symlink_to(".")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(faces, ("angry", "happy"), {}))
    assert_refused(fer_edge("data", "audit", recipe), 2, "not labels: more")
