"""``fer-edge completion``: its scripts in the shells themselves."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes.edge_command import assert_one_line, clean_environment, fer_edge
from support.processes.terminal import Terminal

FILES = ("film.mp4", "film notes.txt", "faces.toml")
FOLDER = "films"


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {name}")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some files, and the script of each shell in ``scripts``."""
    folder = tmp_path_factory.mktemp("completion")
    for name in FILES:
        (folder / name).touch()
    (folder / FOLDER).mkdir()
    (folder / "scripts").mkdir()
    for name in ("bash", "zsh", "fish"):
        done = fer_edge("completion", name, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        (folder / "scripts" / name).write_text(done.stdout)
    (folder / "scripts" / "zsh").rename(folder / "scripts" / "_fer-edge")
    return folder


def by_bash(line: str, folder: Path) -> set[str]:
    """What bash offers for the last word of ``line``."""
    words = line.split(" ")
    script = f"""
        . scripts/bash
        COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
        _shtab_fer_edge
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return offered([shell("bash"), "--norc", "-c", script], folder)


def by_fish(line: str, folder: Path) -> set[str]:
    script = f"source scripts/fish; complete --do-complete {shlex.quote(line)}"
    found = offered([shell("fish"), "--no-config", "-c", script], folder)
    return {candidate.partition("\t")[0].rstrip("/") for candidate in found}


def by_zsh(line: str, folder: Path) -> set[str]:
    """What zsh lists in a terminal after a Tab."""
    terminal = Terminal([shell("zsh"), "-f", "-i"], folder, {"PS1": "ready> "})
    setup = (
        "fpath=($PWD/scripts $fpath)",
        "autoload -U compinit",
        "compinit -D -u",
        "LISTMAX=1000",
        "zstyle ':completion:*' verbose no",
        "zstyle ':completion:*' insert-tab false",
        # Lists even a single match and does not change the line.
        "list() { zle list-choices }; zle -N list; bindkey '^I' list",
    )
    terminal.type("; ".join(setup) + "; print star''ted\n")
    terminal.read_until(lambda text: "started\r\n" in text)
    terminal.said = ""
    terminal.type(line + "\t")
    # The list is below the line: cleared to the end of the screen, printed, and the cursor goes up again.
    listed = re.compile(r"\n\x1b\[J(.*?)\x1b\[\d*A", re.DOTALL)
    terminal.read_until(listed.search)
    found = listed.search(terminal.said)
    terminal.process.kill()
    terminal.end()
    assert found is not None
    return set(found[1].split())


def offered(command: list[str], folder: Path) -> set[str]:
    environment = {**clean_environment(), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.splitlines())


SHELLS = [by_bash, by_zsh, by_fish]
Offered = Callable[[str, Path], set[str]]


@pytest.mark.parametrize("complete", SHELLS)
def test_commands_of_all_packages_are_offered(complete: Offered, folder: Path) -> None:
    assert {"run", "predict", "train", "convert", "bench", "flash", "completion"} <= complete("fer-edge ", folder)
    assert complete("fer-edge pre", folder) >= {"predict"}
    assert "run" not in complete("fer-edge pre", folder)


@pytest.mark.parametrize("complete", SHELLS)
@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("fer-edge service ", {"install", "remove", "status"}),
        ("fer-edge flash ", {"compose", "write", "card"}),
        ("fer-edge bench ", {"latency", "study", "layers"}),  # study and layers are of another package
        ("fer-edge notice --lang ", {"de", "en"}),
        ("fer-edge completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_subcommands_and_choices_are_offered(complete: Offered, line: str, some: set[str], folder: Path) -> None:
    assert some <= complete(line, folder)


@pytest.mark.parametrize("complete", SHELLS)
@pytest.mark.parametrize(
    ("command", "option"),
    [("run", "--settings"), ("train", "--recipe"), ("flash card", "--pi"), ("bench latency", "--engines")],
)
def test_options_are_offered_without_synonyms(complete: Offered, command: str, option: str, folder: Path) -> None:
    found = complete(f"fer-edge {command} --", folder)
    assert option in found
    assert "--config" not in found


@pytest.mark.parametrize("complete", SHELLS)
@pytest.mark.parametrize(
    "line", ["fer-edge run f", "fer-edge run a.mp4 f", "fer-edge run --settings f", "fer-edge predict a.png b.png f"]
)
def test_files_are_offered(complete: Offered, line: str, folder: Path) -> None:
    assert {"film.mp4", "faces.toml"} <= complete(line, folder)


@pytest.mark.parametrize("complete", SHELLS)
def test_only_folders_are_offered_where_a_folder_is_expected(complete: Offered, folder: Path) -> None:
    found = complete("fer-edge predict x.png --annotate f", folder)
    assert {name.rstrip("/") for name in found} & {FOLDER, *FILES} == {FOLDER}


def test_bash_completes_what_is_typed(folder: Path) -> None:
    terminal = Terminal([shell("bash"), "--norc", "-i"], folder, {"PS1": "ready> "})
    terminal.type(". scripts/bash; bind 'set enable-bracketed-paste off'; echo star''ted\n")
    terminal.read_until(lambda text: "started\r\n" in text)
    terminal.said = ""
    terminal.type("fer-edge predi\tfilm.m\t")
    terminal.read_until(lambda text: "fer-edge predict film.mp4 " in text)
    terminal.process.kill()
    terminal.end()


def test_an_unknown_shell_is_refused(tmp_path: Path) -> None:
    assert_one_line(fer_edge("completion", "tcsh", cwd=tmp_path), 2, "tcsh", "bash", "fer-edge completion --help")
