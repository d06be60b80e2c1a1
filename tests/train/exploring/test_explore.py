"""``fer-edge data explore``: its findings and pictures, always the same, on one page that needs no other file."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import install_command
from fer_train.exploring.near_duplicates import MAX_BITS, find_near_duplicates
from support.data.fer2013 import MiniRow, csv_bytes, mini_rows, write_csv
from support.training.mini_run import assert_refused, environment_with, fer_edge
from support.web.browser import Browser, browser_is_missing

KINDS = """\
name = "all kinds"
[augment]
blur = 1.0
noise = 0.1
mixup_alpha = 0.4
cutmix_alpha = 1.0
"""


def faulty(path: Path) -> Path:
    """A miniature with a label conflict, and with a fainter, noisier copy of a Training image in PublicTest."""
    rows = mini_rows(per_class=5, test_per_class=2)
    # Gratings of one class are near duplicates, so each image gets a different pattern.
    random = np.random.default_rng(4)
    for number, row in enumerate(rows):
        blobs = cv2.resize(random.uniform(0, 255, (9, 9)).astype(np.float32), (48, 48), interpolation=cv2.INTER_CUBIC)
        rows[number] = MiniRow(row.label, row.usage, np.clip(blobs, 0, 255).astype(np.uint8))
    training = [row for row in rows if row.usage == "Training"]
    like = (training[3].pixels * 0.8 + 20 + random.normal(0, 2, (48, 48))).astype(np.uint8)
    rows.append(MiniRow((training[3].label + 1) % 7, "PublicTest", like))
    rows.append(MiniRow((training[7].label + 1) % 7, "Training", training[7].pixels))
    return write_csv(path, csv_bytes(rows))


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with explorations of the same data, ``one`` and ``two``, from one process, because imports are slow.

    ``two`` also contains a foreign file, and one of an earlier exploration with more pictures. A third exploration,
    into ``full``, has no space for its page.
    """
    folder = tmp_path_factory.mktemp("explored")
    data = faulty(folder / "fer2013.csv")
    (folder / "kinds.toml").write_text(KINDS)
    (folder / "two").mkdir()
    (folder / "two" / "holiday.png").write_bytes(b"mine")
    (folder / "two" / "samples-9-contempt.png").write_bytes(b"of other data")
    (folder / "full").mkdir()
    (folder / "full" / "samples-9-contempt.png").write_bytes(b"of other data")
    words = ["data", "explore", str(data), "--augment", str(folder / "kinds.toml"), "--force", "--out"]
    program = (
        "import resource, sys; from fer_edge.commands.cli import main\n"
        f"done = main({[*words, 'one']!r}), main({[*words, 'two']!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        f"sys.exit((*done, main({[*words[:3], '--force', '--out', 'full']!r})) != (0, 0, 6))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**environment_with(None), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"fer-edge: full/explore\.html: cannot be written: .*\n", done.stderr)
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.slow
def test_every_picture_is_drawn_and_drawn_the_same_again(explored: Path) -> None:
    first = {path.name: path.read_bytes() for path in (explored / "one").iterdir()}
    second = {path.name: path.read_bytes() for path in (explored / "two").iterdir()}
    assert second == {**first, "holiday.png": b"mine"}
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert set(first) == {
        *(f"samples-{number}-{label}.png" for number, label in enumerate(labels)),
        *(f"{name}.png" for name in ("balance", "means", "brightness", "contrast", "near-duplicates", "conflicts")),
        *("augment-kinds.png", "augment-batch.png", "explore.html", "near-duplicates.csv"),
    }
    for name in first:
        if name.endswith(".png"):
            picture = cv2.imread(str(explored / "one" / name), cv2.IMREAD_GRAYSCALE)
            assert min(picture.shape) > 100, name
            assert picture.std() > 5, name


@pytest.mark.slow
def test_a_full_disk_leaves_what_an_earlier_exploration_made(explored: Path) -> None:
    assert (explored / "full/samples-9-contempt.png").read_bytes() == b"of other data"
    assert not (explored / "full/explore.html").exists()


@pytest.mark.slow
def test_what_is_wrong_is_found_and_told(explored: Path) -> None:
    said = (explored / "said").read_text()
    assert "1 groups of different images look the same: 1 cross splits, 1 carry different labels" in said
    assert "1 groups of equal images carry different labels" in said
    assert said.endswith(f"{Path('two/explore.html')}\n")
    with (explored / "one/near-duplicates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["group"], row["split"], row["row"]) for row in rows] == [
        ("0", "Training", "3"),
        ("0", "PublicTest", "14"),
    ]


def test_the_page_needs_no_other_file_and_fits_a_window(explored: Path, tmp_path: Path) -> None:
    page = (explored / "one/explore.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    missing = browser_is_missing()
    if missing:
        pytest.skip(missing)
    (tmp_path / "alone.html").write_text(page)
    with Browser(tmp_path, 1000, 800) as browser:
        browser.open((tmp_path / "alone.html").as_uri())
        assert browser.run("return document.documentElement.scrollWidth") == 1000
        shown = browser.run("return [...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0])")
        assert len(shown) == 15
        assert all(loaded for _, loaded in shown), shown
        headings = browser.run(
            "return [...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))"
        )
        assert headings == [True] * 15
        assert "all kinds" in browser.text("body")
        assert browser.console() == []


def test_nothing_is_replaced_unasked(explored: Path, tmp_path: Path) -> None:
    data = explored / "fer2013.csv"
    before = (explored / "one/explore.html").stat()
    assert_refused(fer_edge("data", "explore", data, "--out", explored / "one"), 2, str(explored / "one"), "--force")
    assert (explored / "one/explore.html").stat() == before
    assert_refused(fer_edge("data", "explore", data, "--out", data), 2, str(data), "is a file")
    refused = fer_edge("data", "explore", "--augment", tmp_path / "no.toml", "--out", tmp_path / "new")
    assert_refused(refused, 2, "no.toml")
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_named_with_its_extra(explored: Path, tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ModuleNotFoundError('No module', name='pandas')\n")
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "data", "explore", str(explored / "fer2013.csv"), "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(done, 2, f"pandas is not installed: {install_command('explore')}")


bits = st.integers(0, 2**64 - 1)


@settings(max_examples=60)
@given(st.lists(st.tuples(bits, st.lists(st.sets(st.integers(0, 63), max_size=6), max_size=4)), min_size=1, max_size=6))
def test_near_hashes_are_grouped_as_comparing_all_pairs_groups_them(families: list[tuple[int, list[set[int]]]]) -> None:
    hashes = []
    for parent, children in families:
        hashes.append(parent)
        hashes += [parent ^ sum(1 << bit for bit in child) for child in children]
    group = list(range(len(hashes)))
    for left in range(len(hashes)):
        for right in range(left):
            if (hashes[left] ^ hashes[right]).bit_count() <= MAX_BITS:
                old, new = group[left], group[right]
                group = [new if each == old else each for each in group]
    expected = [[i for i, each in enumerate(group) if each == number] for number in dict.fromkeys(group)]
    found = find_near_duplicates(np.array(hashes, np.uint64))
    assert [list(members) for members in found] == [members for members in expected if len(members) > 1]
