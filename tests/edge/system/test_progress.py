"""The progress bar of ``run FILE`` and ``predict FOLDER``: on a terminal only, and it never garbles other lines."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from support.processes.edge_command import clean_environment, command_line, face_picture, fer_edge, write_video
from support.processes.terminal import Terminal

FRAMES = 60
BAR = re.compile(r"(\d+)%\|.{10,60}\| (\d+)/(\d+) \[")
INTERPRETER = r"[\w.-]+ [\d.]+, 1 thread.*"


def screen(said: str) -> list[str]:
    """Return the lines on the terminal after ``said``; it supports CR, LF and erasing to the end of the line."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+", said):
        if part == "\n":
            lines.append("")
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        else:
            lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("progress")
    write_video(folder / "film.mp4", FRAMES)
    (folder / "pictures").mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / "pictures" / f"{number}.jpg"), face_picture())
    return folder


def shown(terminal: Terminal) -> list[tuple[str, ...]]:
    return [match.groups() for match in BAR.finditer(terminal.said)]


@pytest.mark.parametrize("limit", [(), ("--max-frames", 40), ("--duration", 2)], ids=["all", "frames", "seconds"])
def test_a_film_shows_how_much_of_it_is_processed(limit: tuple[object, ...], folder: Path) -> None:
    terminal = Terminal(command_line("run", "film.mp4", *limit), folder)
    assert terminal.end() == 0
    bars = shown(terminal)
    total = {(): FRAMES, ("--max-frames", 40): 40, ("--duration", 2): 30}[limit]  # the film has 15 frames a second
    assert {bar[2] for bar in bars} == {str(total)}
    counts = [int(bar[1]) for bar in bars]
    assert counts == sorted(counts) and counts[-1] > total / 2
    # The bar was visible while events were printed, and nothing of it remains.
    event = r" +\d+\.\d\d s  film.mp4  face 1  (appeared|left) .*"
    summary = rf"{total} frames, 0 dropped, 1 face seen, 2 events in .* s"
    lines = screen(terminal.said)
    assert all(map(re.fullmatch, (event, event, summary, INTERPRETER), lines)), lines
    assert len(lines) == 4


def test_events_as_json_on_the_same_terminal_are_whole_lines(folder: Path) -> None:
    terminal = Terminal(command_line("run", "film.mp4", "--events", "-"), folder)
    assert terminal.end() == 0
    assert shown(terminal)
    lines = screen(terminal.said)
    assert [line[:18] for line in lines] == ['{"v":1,"kind":"app', '{"v":1,"kind":"lef']


def test_ctrl_c_removes_the_bar(folder: Path) -> None:
    terminal = Terminal(command_line("run", "film.mp4", "--realtime"), folder)
    terminal.read_until(lambda _: len(shown(terminal)) > 3)
    terminal.type("\x03")
    assert terminal.end() == 0
    assert "^C" in terminal.said
    lines = screen(terminal.said)
    assert re.fullmatch(r"\d+ frames, \d+ dropped, .*", lines[-2]), lines
    assert not any("^C" in line or "|" in line for line in lines)


def test_a_film_that_breaks_off_ends_with_its_error_alone(folder: Path) -> None:
    write_video(folder / "cut.avi", FRAMES)
    data = (folder / "cut.avi").read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) // 2])
    terminal = Terminal(command_line("run", "cut.avi"), folder)
    assert terminal.end() == 2
    assert shown(terminal)
    assert screen(terminal.said)[-1].startswith("fer-edge: cut.avi: ")


@pytest.mark.parametrize(
    "words", [("run", "film.mp4", "film.mp4"), ("run", "pictures/1.jpg")], ids=["two", "one image"]
)
def test_several_sources_and_a_single_image_have_no_bar(words: tuple[str, ...], folder: Path) -> None:
    terminal = Terminal(command_line(*words), folder)
    assert terminal.end() == 0
    assert not shown(terminal) and "%|" not in terminal.said


def test_a_folder_of_images_shows_how_many_are_done(folder: Path) -> None:
    terminal = Terminal(command_line("predict", "pictures"), folder)
    assert terminal.end() == 0
    assert {bar[2] for bar in shown(terminal)} == {"12"}
    lines = screen(terminal.said)
    assert lines[0].startswith("file") and not any(BAR.search(line) for line in lines)


@pytest.mark.parametrize("words", [("run", "film.mp4"), ("predict", "pictures")], ids=["run", "predict"])
def test_there_is_no_bar_in_a_pipe(words: tuple[str, ...], folder: Path) -> None:
    done = fer_edge(*words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\r" not in done.stdout and "%|" not in done.stdout


MESSAGES = """
import logging
from fer_edge.system.messages import LogHandler, print_message
from fer_edge.system.progress import Progress
from fer_edge.system.stderr import hidden_stderr
logging.basicConfig(handlers=[LogHandler()])
with Progress(10, "frames") as progress:
    progress.show(3)
    print_message("one")
    progress.show(5)
    logging.warning("two")
    with hidden_stderr():
        progress.show(6)
    print_message("three")
    progress.show(7)
print_message("four")
"""


@pytest.mark.parametrize("total", ["10", "None"])
def test_messages_and_log_lines_are_printed_above_the_bar(total: str, tmp_path: Path) -> None:
    terminal = Terminal([sys.executable, "-c", MESSAGES.replace("10", total)], tmp_path)
    assert terminal.end() == 0
    assert len(re.findall(r"\d frames|\d/10 ", terminal.said)) >= 4
    log = f"{logging.getLevelName(logging.WARNING)} root: two"
    assert screen(terminal.said) == ["fer-edge: one", log, "fer-edge: three", "fer-edge: four"]


@pytest.mark.parametrize(("size", "width"), [((24, 40), 36), ((24, 200), 78), ((0, 0), 74)])
def test_the_bar_fits_the_terminal(size: tuple[int, int], width: int, tmp_path: Path) -> None:
    terminal = Terminal([sys.executable, "-c", MESSAGES], tmp_path, size=size)
    assert terminal.end() == 0
    (bar, *_) = re.findall(r"\r( 30%\|[^\r]*)", terminal.said)
    assert len(bar.rstrip()) <= width and "3/10 [" in bar


def test_a_terminal_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    code = MESSAGES.replace(
        "import logging\n", "import logging, os, sys\nsys.stderr.isatty = lambda: True\nos.close(2)\n", 1
    )
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(), cwd=tmp_path, check=False)
    assert done.returncode == 0
