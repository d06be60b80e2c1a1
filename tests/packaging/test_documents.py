"""The documents agree with the program: settings, links and every command line that they show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import pytest

from fer_chain.settings import load_chain
from fer_edge.commands.cli import build_parser
from fer_edge.settings.runtime import load_settings
from fer_train.recipe.recipe import load_recipe
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment, face_picture, write_video

_PROGRAM = r'(?:\.venv/bin/fer-edge|sudo "\$\(command -v fer-edge\)"|fer-edge)'

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/*/*.md", "*/README.md", "edge/*/*.md", "models/*/*.md")
    for path in CHECKOUT.glob(pattern)
    if not path.is_relative_to(CHECKOUT / "runs")
)

MADE_BY_THE_SITE = {CHECKOUT.resolve() / "docs" / "reference" / "commands.md"}


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of the headings of a Markdown file: lower case, no punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", word).replace(" ", "-") for word in words}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text()):
        if "://" not in target:
            page = document.parent / target if target else document
            if page.resolve() in MADE_BY_THE_SITE:
                continue
            assert page.exists(), target
            assert not anchor or anchor in anchors(page), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_line_shown_is_one_that_the_program_takes(document: Path) -> None:
    # Indented or fenced lines; a line with [ or | shows a grammar, not a command.
    for line in re.findall(rf"^ *(?:\$ )?{_PROGRAM} (.+)$", document.read_text(), flags=re.MULTILINE):
        command = line.partition(" #")[0].partition(" > ")[0]
        if not re.search(r"[\[|…]", command):
            build_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_recipe_that_is_named_is_there(document: Path) -> None:
    for recipe in re.findall(r"train/configs/[\w-]+\.toml", document.read_text()):
        assert (CHECKOUT / recipe).is_file(), recipe


def test_every_test_file_that_is_named_is_there() -> None:
    files = [str(path) for path in (CHECKOUT / "tests").rglob("test_*.py")]
    named = [
        (document.name, name)
        for document in (*DOCUMENTS, *CHECKOUT.glob("tests/*/README.md"))
        for name in re.findall(r"(?:[\w-]+/)*test_\w+\.py", document.read_text())
    ]
    assert len(named) > 40
    assert [pair for pair in named if not any(file.endswith(f"/{pair[1]}") for file in files)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_extra_that_is_named_is_one(document: Path) -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"pip install .*?(?:\.|fer-edge)\[([\w,]+)\]", document.read_text()):
        assert set(names.split(",")) <= extras.keys(), names


@pytest.mark.parametrize("document", ["README.md", "docs/reference/python.md"])
def test_the_python_that_is_shown_runs(document: str, tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", 15)
    cv2.imwrite(str(tmp_path / "photo.jpg"), face_picture())
    blocks = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", "".join(blocks)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "appeared 1 happy" in done.stdout


TOML_BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(CHECKOUT)}-{number}")
    for page in DOCUMENTS
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("block", TOML_BLOCKS)
def test_every_table_of_settings_shown_is_accepted(block: str, tmp_path: Path) -> None:
    """By the reader of the runtime's settings, of a recipe with its search, or of a chain."""
    (tmp_path / "shown.toml").write_text(block)
    if "train" in tomllib.loads(block):
        load_chain(tmp_path / "shown.toml")
    elif tomllib.loads(block).keys() & {"data", "tune", "tracking"}:
        load_recipe(tmp_path / "shown.toml")
    else:
        load_settings(tmp_path / "shown.toml", environment={})


def test_make_help_lists_every_target() -> None:
    words = ["make", "--no-print-directory", "help"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    phony = re.findall(r"^\.PHONY: (.*)$", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE)[0].split()
    assert listed == set(phony) - {"help", "run-test-backends"}
