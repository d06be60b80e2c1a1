"""The tutorials of ``docs/``: their commands, run unchanged, print the shown output, and the names in the text exist.

``support.tutorials`` describes what a page may contain.
"""

from __future__ import annotations

import argparse
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.commands.cli import build_parser
from support.environments.fresh_install import CHECKOUT
from support.tutorials import Shell, blocks, lay_out, prints, prose, steps

DOCS = CHECKOUT / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
_PATIENCE = 5
"""A busy or old processor may take this many times the seconds that a page names."""

pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


@pytest.mark.slow
@pages
def test_the_commands_print_what_the_page_shows(path: Path, tmp_path: Path) -> None:
    page = path.read_text()
    lay_out(tmp_path)
    shell = Shell(tmp_path)
    before = _seconds_of_children()
    for step in steps(page):
        code, printed = shell.run(step.commands)
        assert code == step.code, f"{path.name}, line {step.line}:\n{printed}"
        assert prints(step.shown, printed), f"{path.name}, line {step.line}: it printed\n{printed}"
    (told,) = re.findall(r"takes about (\d+) s of one\s+processor core", page)
    assert _seconds_of_children() - before < _PATIENCE * int(told)
    by_hand = "".join(block.text for block in blocks(page) if block.kind == "console")
    for name in filter(_is_file, _code_spans(page)):
        assert name in by_hand or (shell.folder / name).is_file(), f"{path.name}: {name} is named but does not exist"


@pages
def test_the_prose_names_only_what_is_there(path: Path) -> None:
    """Words in code style are options or commands of the program, or occur in the page's blocks or in the program."""
    page = path.read_text()
    parser = build_parser()
    options, shown = set(_options(parser)), "".join(block.text for block in blocks(page))
    program = "".join(source.read_text() for source in _program())
    for word in _code_spans(page):
        if word.startswith("--"):
            assert word in options, word
        elif word.startswith("fer-edge "):
            assert _is_command(parser, word.split()[1:]), word
        else:
            assert _is_file(word) or word in shown or word in program, word


@pages
def test_figures_in_the_prose_stand_in_what_is_shown(path: Path) -> None:
    page = path.read_text()
    shown = " ".join(block.text for block in blocks(page))
    for figure in re.findall(r"\d+\.\d+", prose(page)):
        assert figure in shown, figure


@pages
def test_commands_that_no_test_can_run_are_one_line_each(path: Path) -> None:
    """``packaging/test_documents.py`` tests that the program accepts them."""
    for block in blocks(path.read_text()):
        if block.kind == "console":
            for line in block.text.splitlines():
                assert re.match(r'\$ (sudo "\$\(command -v fer-edge\)"|fer-edge) ', line), line


def test_the_home_page_lists_every_tutorial() -> None:
    listed = re.findall(r"^\| \[[^]]+\]\((\S+)\)", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    assert set(listed) == {f"tutorials/{path.name}" for path in PAGES}


def test_every_page_is_in_the_navigation() -> None:
    """MkDocs itself refuses an entry without a page; it makes the page of commands."""
    listed = set(re.findall(r"[\w/-]+\.md\b", (CHECKOUT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | {"reference/commands.md"}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("", "", True),
        ("", "a\n", False),
        ("a  b\n--- -----\n", "a b\n---- ---\n", True),
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a b d\n", False),
        ("a\n…\n", "a\n", True),
        ("a\n…\nc\n", "a\nb\nb\nc\n", True),
        ("a\nc\n", "a\nb\nc\n", False),
        ("a …\n", "a b\nc\n", False),
        ("(a|b) .\n", "a c\n", False),
    ],
)
def test_what_is_elided_and_what_is_not(shown: str, printed: str, same: bool) -> None:
    assert prints(shown, printed) is same


@pytest.mark.parametrize(
    "page", ["```sh exit=no\nls\n```\n", "```python\n1\n```\n", "```text\nshown by nothing\n```\n", "```sh\nls\n"]
)
def test_a_page_with_a_block_that_nothing_would_check_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        list(steps(page))


def test_a_step_is_a_real_shell_that_stays_where_it_went(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell.run("mkdir a && cd a\necho one; echo two >&2") == (0, "one\ntwo\n")
    assert shell.folder == tmp_path / "a"
    assert shell.run("false\necho not reached") == (1, "")
    assert shell.run("exit 3 | cat") == (3, "")


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _code_spans(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def _is_file(word: str) -> bool:
    return re.fullmatch(r"[\w/-][\w./-]*\.(html|jpg|md|png|tflite|toml)", word) is not None


def _program() -> Iterator[Path]:
    for package in ("edge", "train", "convert", "benchmarks"):
        for pattern in ("*/**/*.py", "*/**/*.toml"):
            yield from (CHECKOUT / package).glob(pattern)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _is_command(parser: argparse.ArgumentParser, words: list[str]) -> bool:
    if not words or not _subparsers(parser):
        return True
    return words[0] in _subparsers(parser) and _is_command(_subparsers(parser)[words[0]], words[1:])


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
    for subparser in _subparsers(parser).values():
        yield from _options(subparser)
