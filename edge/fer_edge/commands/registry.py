"""The runtime's subcommands: their arguments, and nothing heavy; the work is imported when one is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.argument_types import count, positive
from fer_edge.commands.cli import Command, add_subcommands

_DEMO_SECONDS = 20.0


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="demo, a video or image file, a folder of images, 0 or /dev/video0 or /dev/v4l/by-id/…, picamera2,"
        " rtsp://… or http(s)://…; several run side by side, each with its own pipeline, and their events carry"
        " its name",
    )
    parser.add_argument("--config", type=Path, metavar="F", help="settings in TOML; flags go before it")
    _add_model(parser)
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("--events", metavar="FILE|-", help="append events as JSON lines (-: standard output)")
    outputs.add_argument("--trace", metavar="FILE", help="write one JSON object for each processed frame")
    outputs.add_argument("--stats", metavar="FILE", help="write counts, times and latencies as JSON at the end")
    outputs.add_argument(
        "--annotate", metavar="OUT.mp4", help="write a video with boxes and labels; this records whoever is seen"
    )
    limits = parser.add_argument_group("limits, for each source")
    limits.add_argument("--duration", type=positive, metavar="S", help="stop after S seconds of the source's time")
    limits.add_argument("--max-frames", type=count, metavar="N", help="stop after N processed frames")
    limits.add_argument(
        "--max-fps", type=positive, metavar="N", help="process at most N frames a second, skipping others"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="pace files as a camera would: the newest frame wins, others are dropped and counted",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings in force, and stop (passwords in URLs are hidden)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from fer_edge.commands import run as run_command

    return run_command.run(arguments)


def _configure_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of images")
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="DIR",
        help="write a copy of each image there, in grey as the detector sees it, with boxes and labels in colour",
    )


def _predict(arguments: argparse.Namespace) -> int:
    from fer_edge.commands import predict as predict_command

    return predict_command.run(arguments)


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=positive, default=_DEMO_SECONDS, metavar="S", help="length of the scene (default: 20)"
    )
    _add_model(parser)


def _demo(arguments: argparse.Namespace) -> int:
    from fer_edge.commands import demo as demo_command

    return demo_command.run(arguments)


def _configure_notice(parser: argparse.ArgumentParser) -> None:
    languages = sorted(path.stem for path in (Path(__file__).parent / "notices").glob("*.toml"))
    parser.add_argument("--lang", choices=languages, default="en", help="language of the notice (default: en)")
    parser.add_argument("--config", type=Path, metavar="F", help="settings that the device runs with, in TOML")
    parser.add_argument("--operator", default="", metavar="NAME", help="who runs it; left blank without")
    parser.add_argument("--contact", default="", metavar="ADDRESS", help="where to ask; left blank without")
    parser.add_argument("--purpose", default="", metavar="TEXT", help="what it is for; left blank without")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page to print, in place of plain text")


def _notice(arguments: argparse.Namespace) -> int:
    from fer_edge.commands import notice

    return notice.run(arguments)


def _configure_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="F", help="settings that the device runs with, in TOML")
    parser.add_argument(
        "--patience", type=positive, default=30.0, metavar="S", help="seconds that one check may take (default: 30)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument(
        "--report",
        type=Path,
        metavar="FILE|-",
        help="also try the cameras for a few seconds and time the model, and write all as JSON, without secrets",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from fer_edge.commands import doctor as command

    return command.run(arguments)


def _configure_service(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "install": Command("install the systemd unit, enable it and start it", _configure_install, _install),
            "remove": Command("stop the service and remove it; settings and events stay", _configure_remove, _remove),
            "status": Command("say how the service is; exit 1 when it is not active", _configure_status, _status),
        },
    )


def _configure_install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="F", help="settings (default: /etc/fer-edge/config.toml, made if there is none)"
    )
    parser.add_argument(
        "--command",
        dest="command_path",  # "command" is where argparse puts the subcommand
        type=Path,
        metavar="FILE",
        help="the fer-edge that the service starts, for an image (default: this one)",
    )
    _add_plan(parser)


def _configure_remove(parser: argparse.ArgumentParser) -> None:
    _add_plan(parser)


def _configure_status(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be written and run, and stop")
    parser.add_argument("--root", type=Path, metavar="DIR", help="work on the system below DIR, such as an image's")


def _install(arguments: argparse.Namespace) -> int:
    from fer_edge.service.install import install

    return install(arguments)


def _remove(arguments: argparse.Namespace) -> int:
    from fer_edge.service.install import remove

    return remove(arguments)


def _status(arguments: argparse.Namespace) -> int:
    from fer_edge.service.state import status

    return status(arguments)


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise AssertionError("argparse demands a subcommand")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR|ZIP", help="model bundle (default: the one in the package)")
    parser.add_argument("--variant", metavar="NAME", help="variant of the bundle (default: int8)")


RUN = Command("watch cameras or files and tell emotions as events", _configure_run, _run)
PREDICT = Command("find and classify every face in images", _configure_predict, _predict)
DEMO = Command("run the pipeline on a built-in scene and show the result", _configure_demo, _demo)
NOTICE = Command(
    "print a notice for the people in front of the camera, as the settings make it", _configure_notice, _notice
)
DOCTOR = Command(
    "look for what could keep the program from its work here, and tell what mends it", _configure_doctor, _doctor
)
SERVICE = Command("run as a systemd service: install, remove, status", _configure_service, _no_subcommand)
