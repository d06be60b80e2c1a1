"""Arguments of ``fer-edge chain``; the work is imported when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.cli import Command, add_subcommands, deferred


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="CHAIN", help="the chain, a TOML file")


def _configure_run(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    parser.add_argument("--from", dest="first", metavar="STEP", help="begin with this step; earlier ones are not run")
    parser.add_argument("--to", dest="last", metavar="STEP", help="end with this step")
    parser.add_argument("--dry-run", action="store_true", help="print which steps would run, and why; change nothing")


def _configure_show(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write the graph as a picture")


def _configure_dvc(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("dvc.yaml"), metavar="FILE", help="file to write (default: dvc.yaml)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _configure_export(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser, {"dvc": Command("write a dvc.yaml for DVC", _configure_dvc, deferred("fer_chain.command:export_dvc"))}
    )


CHAIN = Command(
    "run all steps from data to device by one file, only those that changed: run, show, export",
    lambda parser: add_subcommands(
        parser,
        {
            "run": Command("run the steps that changed", _configure_run, deferred("fer_chain.command:run")),
            "show": Command("draw the steps and their order", _configure_show, deferred("fer_chain.command:show")),
            "export": Command("write the chain for another program: dvc", _configure_export),
        },
    ),
)
