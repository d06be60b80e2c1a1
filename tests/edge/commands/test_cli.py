"""The command line: common options, help, and wrong usage."""

from __future__ import annotations

from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from fer_edge import __version__
from fer_edge.commands.cli import build_parser
from fer_edge.commands.registry import COMMANDS
from support.processes.edge_command import assert_one_line, fer_edge


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
