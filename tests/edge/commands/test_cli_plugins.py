"""The command line: packages of commands that cannot be loaded, and subcommands that other packages add."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes.edge_command import assert_one_line
from support.processes.plugins import run

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
