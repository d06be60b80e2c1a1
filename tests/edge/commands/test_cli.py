"""The command line: common options, packages that cannot be loaded, and every kind of exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import cv2
import pytest

from fer_edge import __version__
from fer_edge.commands.cli import build_parser
from fer_edge.commands.registry import COMMANDS
from support.processes.edge_command import assert_one_line, clean_environment, command_line, face_picture, fer_edge

PLUGIN = """
import errno, os, sys, time
from fer_edge.commands.cli import Command

def failing(problem):
    def run(arguments):
        raise problem
    return Command("fails", lambda parser: None, run)

def wait(arguments):
    sys.stdout.write("waiting\\n")
    sys.stdout.flush()
    time.sleep(60)
    return 0

def turn_into_import_error(arguments):
    # As pybind11 does with what is raised while it loads an extension module.
    try:
        wait(arguments)
    except BaseException as error:
        raise ImportError("initialization failed") from error

defect = failing(ZeroDivisionError("division by zero"))
full = failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/where"))
forever = Command("waits", lambda parser: None, wait)
loading = Command("loads", lambda parser: None, turn_into_import_error)
"""

ENTRY_POINTS = """
[fer_edge.commands]
broken = fer_no_such_package.commands:BROKEN
renamed = fer_plugin:gone
defect = fer_plugin:defect
full = fer_plugin:full
forever = fer_plugin:forever
loading = fer_plugin:loading
bench accuracy = fer_plugin:defect
bench added = fer_plugin:full
bench broken = fer_no_such_package.commands:BROKEN
demo added = fer_plugin:full
broken added = fer_plugin:full
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an installed package whose commands fail, two of them when they are loaded."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "fer_plugin.py").write_text(PLUGIN)
    about = folder / "fer_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fer-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def with_plugins(plugins: Path) -> dict[str, str]:
    environment = clean_environment()
    places = [str(plugins), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def run(*arguments: object, plugins: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(*arguments),
        cwd=plugins,
        env=with_plugins(plugins),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Options


@pytest.mark.parametrize(
    "words",
    ["--debug bench latency", "bench --debug latency", "bench latency --debug", "bench --debug", "run demo --debug"],
)
def test_debug_is_accepted_before_and_after_the_command(words: str) -> None:
    assert build_parser().parse_args(words.split()).debug is True


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ("bench latency", "warning"),
        ("--log-level info bench latency", "info"),
        ("bench --log-level info latency", "info"),
        ("bench latency --log-level info", "info"),
        ("--log-level info bench --log-level debug latency --log-level error", "error"),
        ("data --log-level debug audit", "debug"),
    ],
)
def test_the_last_log_level_wins(words: str, level: str) -> None:
    arguments = build_parser().parse_args(words.split())
    assert (arguments.log_level, arguments.debug) == (level, False)


def test_the_entry_points_name_the_commands_of_the_registry() -> None:
    """Which are taken from there, so that a start does not read entry points."""
    installed = {
        point.name: point.load()
        for point in entry_points(group="fer_edge.commands")
        if point.module.startswith("fer_edge.")
    }
    assert installed == COMMANDS


def test_every_command_prints_the_version(tmp_path: Path) -> None:
    assert __version__ == version("fer-edge")
    for words in (["--version"], ["run", "--version"], ["bench", "latency", "--version"]):
        result = fer_edge(*words, cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (0, f"fer-edge {__version__}\n", "")


def test_bad_usage_is_exit_2_and_names_the_command(tmp_path: Path) -> None:
    for words, said in (
        (["walk"], "unknown command 'walk'; commands: agent, average, bench, "),
        (["rnu"], "unknown command 'rnu'; did you mean run?; see fer-edge --help"),
        (["data"], "SUBCOMMAND"),
        (["bench", "acuracy"], "unknown subcommand 'acuracy'; did you mean accuracy?; see fer-edge bench --help"),
        (["run", "--fast"], "unknown option --fast; see fer-edge run --help"),
        (["run", "demo", "--max-fsp=3"], "unknown option --max-fsp; did you mean --max-fps?; see fer-edge run --help"),
        (["service", "install", "--dry-rnu"], "did you mean --dry-run?; see fer-edge service install --help"),
        (["demo", "more"], "unexpected argument 'more'; see fer-edge demo --help"),
        (["--debgu", "run"], "unknown option --debgu; did you mean --debug?; see fer-edge --help"),
    ):
        result = fer_edge(*words, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert said in result.stderr.splitlines()[-1]


def test_without_a_command_help_is_printed(tmp_path: Path) -> None:
    alone, asked = fer_edge(cwd=tmp_path), fer_edge("--help", cwd=tmp_path)
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, asked.stdout, "")


def test_debug_shows_where_it_failed(tmp_path: Path) -> None:
    for words in (["--debug", "run", "demo"], ["run", "demo", "--debug"]):
        result = fer_edge(*words, "--bundle", "none", cwd=tmp_path)
        assert result.returncode == 2  # as without --debug
        assert "Traceback" in result.stderr
        assert "InputError: none: no such bundle" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("fer-edge: none: no such bundle")


# Packages that do not load


def test_help_lists_the_other_commands(plugins: Path) -> None:
    result = run("--help", plugins=plugins)
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("run", "predict", "demo", "doctor", "notice", "data", "forever"):
        assert f"\n    {name} " in result.stdout
    assert result.stdout.count("(cannot be loaded)") == 2


def test_the_other_commands_work(plugins: Path) -> None:
    result = run("run", "--print-config", plugins=plugins)
    assert (result.returncode, result.stderr) == (0, "")
    assert "[emotion]" in result.stdout


@pytest.mark.parametrize("words", [[], ["sub", "--flag", "x"], ["--flag"], ["--help"], ["--log-level", "info"]])
def test_a_broken_command_reports_the_reason_when_used(plugins: Path, words: list[str]) -> None:
    said = ("broken", "fer_no_such_package.commands:BROKEN", "No module named 'fer_no_such_package'", "install")
    result = run("broken", *words, plugins=plugins)
    assert_one_line(result, 2, *said)
    assert result.stdout == ""


def test_any_load_failure_is_reported_and_debug_shows_the_traceback(plugins: Path) -> None:
    assert_one_line(run("renamed", plugins=plugins), 2, "renamed", "fer_plugin:gone", "AttributeError")
    result = run("renamed", "--debug", plugins=plugins)
    assert result.returncode == 2
    assert result.stderr.count("Traceback") == 2  # the original exception, and the error made from it


# Subcommands from other packages


def test_another_package_adds_bench_subcommands(plugins: Path) -> None:
    shown = run("bench", "--help", plugins=plugins)
    assert (shown.returncode, shown.stderr) == (0, "")
    for name in ("accuracy", "latency", "all", "added", "broken", "study", "layers"):
        assert shown.stdout.count(f"\n    {name} ") == 1
    assert shown.stdout.count("(cannot be loaded)") == 1
    assert_one_line(run("bench", "added", plugins=plugins), 6, "/some/where", "No space left")
    # Bench's own command has priority; the other package's one would end in an internal error.
    assert "--final" in run("bench", "accuracy", "--help", plugins=plugins).stdout
    said = "unknown subcommand 'aded'; did you mean added?; see fer-edge bench --help"
    assert_one_line(run("bench", "aded", plugins=plugins), 2, said)


def test_a_command_without_subcommands_ignores_those_of_another_package(plugins: Path) -> None:
    shown = run("demo", "--help", plugins=plugins)
    assert (shown.returncode, shown.stderr, "added" in shown.stdout) == (0, "", False)


@pytest.mark.parametrize("words", [[], ["--help"], ["model.keras", "--json", "-"]])
def test_a_broken_subcommand_reports_the_reason_when_used(plugins: Path, words: list[str]) -> None:
    said = ("broken", "fer_no_such_package.commands:BROKEN", "No module named 'fer_no_such_package'", "install")
    result = run("bench", "broken", *words, plugins=plugins)
    assert_one_line(result, 2, *said)
    assert result.stdout == ""


def test_bench_plugins_are_loaded_only_when_bench_runs(tmp_path: Path) -> None:
    (tmp_path / "fer_late.py").write_text('import sys\nsys.stderr.write("loaded")\n')
    about = tmp_path / "fer_late-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fer-late\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[fer_edge.commands]\nbench late = fer_late:LATE\n")
    for words, said in ((["--help"], ""), (["run", "--print-config"], ""), (["bench", "--help"], "loaded")):
        result = run(*words, plugins=tmp_path)
        assert (result.returncode, result.stderr) == (0, said)


# Exit codes


def test_a_defect_is_one_line_and_exit_5(plugins: Path) -> None:
    assert_one_line(run("defect", plugins=plugins), 5, "internal error", "division by zero", "--debug")
    assert "Traceback" in run("defect", "--debug", plugins=plugins).stderr


def test_a_full_disk_is_exit_6(plugins: Path) -> None:
    assert_one_line(run("full", plugins=plugins), 6, "/some/where", "No space left")


def start(words: list[str], environment: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line(*words), cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_is_130_and_one_line(plugins: Path) -> None:
    process = start(["forever"], with_plugins(plugins), plugins)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", "fer-edge: interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_that_a_loading_module_turns_into_an_import_error(
    plugins: Path, number: int, code: int, word: str
) -> None:
    process = start(["loading"], with_plugins(plugins), plugins)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    assert process.communicate(timeout=120) == ("", f"fer-edge: {word}\n")
    assert process.returncode == code


SLOW_DISK = """
import sys, time
import fer_edge.settings.toml_files as toml_files
from fer_edge.commands.cli import program

def slow(path, max_bytes):
    print("reading", flush=True)
    time.sleep(120)

toml_files.read_regular = slow
sys.argv[1:] = ["run", "demo", "--config", "c.toml"]
program()
"""
"""``fer-edge run`` on a disk that takes long to return the configuration."""


def test_ctrl_c_before_run_has_started(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_DISK],
        cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", "fer-edge: interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["data", "--help"], ["run", "--print-config"]])
def test_a_closed_pipe_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    result = fer_edge(*words, cwd=tmp_path, stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["run", "--print-config"]])
def test_a_full_standard_output_is_exit_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    # With PYTHONUNBUFFERED argparse gets the error and ignores it.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        assert_one_line(fer_edge(*words, cwd=tmp_path, stdout=full.fileno()), 6, "No space left")


@pytest.mark.skipif(os.name != "posix", reason="closes streams through a POSIX shell")
@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)])
def test_closed_standard_streams_are_tolerated(tmp_path: Path, closed: str, code: int) -> None:
    line = f'"$0" -m fer_edge run --print-config {closed}; exit $?'
    shell = ["sh", "-c", line, sys.executable]
    result = subprocess.run(shell, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert result.stderr == ""
    assert ("[emotion]" in result.stdout) == (closed == "2>&-")


def test_an_undecodable_file_name_is_printed(tiny_bundle: Path, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes(cv2.imencode(".png", face_picture())[1].tobytes())
    table = fer_edge("predict", name, "--bundle", tiny_bundle, cwd=tmp_path)
    assert (table.returncode, table.stderr) == (0, "")
    assert "caf\\udce9.png" in table.stdout
    answer = fer_edge("predict", name, "--json", "--bundle", tiny_bundle, cwd=tmp_path)
    assert json.loads(answer.stdout)["images"][0]["file"] == name
    missing = b"caf\xe8.png".decode(errors="surrogateescape")
    assert_one_line(fer_edge("predict", missing, "--bundle", tiny_bundle, cwd=tmp_path), 2, "caf\\udce8.png")


@pytest.mark.parametrize(
    "words",
    [["bnch"], ["data"], ["run", "demo", "--duration", "abc"], ["run", "demo", "--deb"], ["train"], ["predict"]],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_that_points_to_the_help(words: list[str], tmp_path: Path) -> None:
    result = fer_edge(*words, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("fer-edge: ") and line.endswith("--help")
    assert "_" not in line.replace("{", "").partition("see")[0]  # no internal function name


@pytest.mark.parametrize(
    ("thread", "end"), [("DriverThread(wait, 'read camera')", ""), ("Thread(target=wait, daemon=True)", "finalized\n")]
)
def test_a_process_does_not_wait_for_a_camera_that_hangs(tmp_path: Path, thread: str, end: str) -> None:
    """The interpreter must not end before its thread, which would abort when OpenCV returns."""
    code = (
        "import atexit; from threading import Event, Thread; from fer_edge.commands.cli import program;"
        "from fer_edge.system.driver_threads import DriverThread; wait = Event().wait;"
        f"atexit.register(print, 'finalized'); {thread}.start();"
        "program()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.partition("\n")[2] == end
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "rest", "flag"),
    [
        ("run", "demo --print-config", "--settings"),
        ("notice", "", "--settings"),
        ("doctor", "", "--settings"),
        ("service install", "", "--settings"),
        ("flash payload", "--release trixie --out p", "--settings"),
        ("flash compose", "--image os.img --out pi.img", "--pi"),
        ("flash card", "--image os.img --device card", "--pi"),
        ("deploy", "device", "--settings"),
        ("bench sequence", "", "--settings"),
        ("train", "", "--recipe"),
        ("data explore", "--out explored", "--recipe"),
    ],
)
def test_the_flag_of_a_toml_file_says_which_and_config_is_a_synonym(
    command: str, rest: str, flag: str, tmp_path: Path
) -> None:
    words = [*command.split(), *rest.split()]
    parser = build_parser()
    for given in ([flag, "x.toml"], ["--config", "x.toml"], ["--config=x.toml"]):
        assert parser.parse_args([*words, *given]).config == Path("x.toml")
    text = fer_edge(*command.split(), "--help", cwd=tmp_path).stdout
    assert f"  {flag} " in text and "--config" not in text
    assert_one_line(fer_edge(*words, "--config", cwd=tmp_path), 2, f"argument {flag}: expected one argument")
