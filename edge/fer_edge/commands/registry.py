"""The runtime's subcommands and their arguments.

Nothing heavy is imported here: the implementation of a command is imported when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.argument_types import count, positive
from fer_edge.commands.cli import Command, add_file, add_subcommands, deferred

_DEMO_SECONDS = 18.0


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="demo, a video or image file, a folder of images, 0 or /dev/video0 or /dev/v4l/by-id/…, picamera2,"
        " rtsp://… or http(s)://…; several sources run in parallel, each with its own pipeline, and each event"
        " names its source; NAME=SOURCE gives it a name",
    )
    add_file(parser, "--settings", help="settings in TOML; options on the command line take precedence")
    _add_model(parser)
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("--events", metavar="FILE|-", help="append events as JSON lines (-: standard output)")
    outputs.add_argument("--trace", metavar="FILE", help="write one JSON object per processed frame")
    outputs.add_argument("--stats", metavar="FILE", help="write counts, times and latencies as JSON at the end")
    outputs.add_argument(
        "--annotate",
        metavar="OUT.mp4",
        help="write a video (.mp4 or .webm) with boxes and labels; this records the people in view",
    )
    outputs.add_argument(
        "--show",
        action="store_true",
        help="show the frames with boxes and labels in a window; q, Esc or closing it ends the run",
    )
    limits = parser.add_argument_group("limits for each source")
    limits.add_argument("--duration", type=positive, metavar="S", help="stop after S seconds of source time")
    limits.add_argument("--max-frames", type=count, metavar="N", help="stop after N processed frames")
    limits.add_argument(
        "--max-fps", type=positive, metavar="N", help="process at most N frames per second, and skip the rest"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="play files at their frame rate, like a camera: a slow pipeline skips to the newest frame, and the"
        " dropped frames are counted",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the resulting settings and exit (passwords in URLs are hidden)",
    )
    parser.add_argument(
        "--print-schema",
        action="store_true",
        help="print the JSON Schema of the settings and exit: with it, editors complete and check a config",
    )


def _configure_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files or folders of images")
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="DIR",
        help="write a copy of each image to DIR, with boxes, labels and probabilities",
    )


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="output folder (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=_DEMO_SECONDS,
        metavar="S",
        help="length of the scene in seconds (default: %(default)g)",
    )
    _add_model(parser)


def _configure_notice(parser: argparse.ArgumentParser) -> None:
    languages = sorted(path.stem for path in (Path(__file__).parent / "notices").glob("*.toml"))
    parser.add_argument("--lang", choices=languages, default="en", help="language of the notice (default: en)")
    add_file(parser, "--settings", help="settings of the device, in TOML")
    parser.add_argument("--operator", default="", metavar="NAME", help="operator of the device (default: blank)")
    parser.add_argument("--contact", default="", metavar="ADDRESS", help="contact for questions (default: blank)")
    parser.add_argument("--purpose", default="", metavar="TEXT", help="purpose of the device (default: blank)")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a printable page instead of plain text")


def _configure_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def _configure_doctor(parser: argparse.ArgumentParser) -> None:
    add_file(
        parser,
        "--settings",
        help="settings to check (default: /etc/fer-edge/config.toml, those of the service, if it exists)",
    )
    parser.add_argument(
        "--patience", type=positive, default=50.0, metavar="S", help="timeout of one check in seconds (default: 50)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument(
        "--report",
        type=Path,
        metavar="FILE|-",
        help="also test the cameras for a few seconds, time the model, and write a JSON report without secrets",
    )


def _configure_service(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "install": Command(
                "install, enable and start the systemd unit",
                _configure_install,
                deferred("fer_edge.service.install:install"),
            ),
            "remove": Command(
                "stop and remove the service; settings and events are kept",
                _add_plan,
                deferred("fer_edge.service.install:remove"),
            ),
            "status": Command(
                "show the state of the service; exit 1 if it is not active",
                _no_arguments,
                deferred("fer_edge.service.state:status"),
            ),
        },
    )


def _configure_install(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "--settings", help="settings (default: /etc/fer-edge/config.toml, created if missing)")
    parser.add_argument(
        "--command",
        dest="command_path",  # argparse stores the name of the subcommand in "command"
        type=Path,
        metavar="FILE",
        help="fer-edge executable that the service starts, for an image (default: this one)",
    )
    _add_plan(parser)


def _configure_update(parser: argparse.ArgumentParser) -> None:
    summaries = {
        "check": "ask the repository for a new version",
        "apply": "download a new version, verify and check it, and use it",
        "rollback": "return to the previous version, and refuse the one in use",
        "status": "show the version in use, and how far a new one has come",
        "trust": "copy the repository's root of trust, 1.root.json, to this device",
    }
    configure = {"apply": _configure_apply, "status": _configure_update_status, "trust": _configure_trust}
    add_subcommands(
        parser,
        {
            name: Command(
                summary, configure.get(name, _add_update_settings), deferred(f"fer_edge.commands.update:{name}")
            )
            for name, summary in summaries.items()
        },
    )


def _configure_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--now",
        action="store_true",
        help="use it at once: do not compare it first, nor wait while another version is on probation",
    )
    _add_update_settings(parser)


def _configure_update_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    _add_update_settings(parser)


def _configure_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT.json", help="metadata/1.root.json of the repository")
    _add_update_settings(parser)


def _add_update_settings(parser: argparse.ArgumentParser) -> None:
    add_file(
        parser, "--settings", help="settings with the table [update] (default: /etc/fer-edge/config.toml, if it exists)"
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be written and run, and exit")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="root folder of the system to change, for example a mounted image"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR|ZIP", help="model bundle (default: the bundled model)")
    parser.add_argument("--variant", metavar="NAME", help="variant of the bundle (default: int8)")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


RUN = Command(
    "recognize emotions in cameras or files and output events", _configure_run, deferred("fer_edge.commands.run:run")
)
PREDICT = Command(
    "find and classify every face in images", _configure_predict, deferred("fer_edge.commands.predict:run")
)
DEMO = Command(
    "run the pipeline on a built-in scene and show the result", _configure_demo, deferred("fer_edge.commands.demo:run")
)
NOTICE = Command(
    "print a notice that informs people in front of the camera, based on the settings",
    _configure_notice,
    deferred("fer_edge.commands.notice:run"),
)
COMPLETION = Command(
    "print a script that completes commands, options and files in a shell",
    _configure_completion,
    deferred("fer_edge.commands.completion:run"),
)
DOCTOR = Command(
    "check this system for problems, and show how to fix them",
    _configure_doctor,
    deferred("fer_edge.commands.doctor:run"),
)
SERVICE = Command("run as a systemd service: install, remove, status", _configure_service)
UPDATE = Command("update the model from a signed repository: check, apply, rollback, status, trust", _configure_update)
AGENT = Command(
    "measure for `fer-edge bench --on`, which starts this over SSH",
    _no_arguments,
    deferred("fer_edge.measure.agent:run"),
)

COMMANDS = {
    "run": RUN,
    "predict": PREDICT,
    "demo": DEMO,
    "notice": NOTICE,
    "completion": COMPLETION,
    "doctor": DOCTOR,
    "service": SERVICE,
    "update": UPDATE,
    "agent": AGENT,
}
"""By name, as in the entry points: ``cli`` takes them from here, since reading entry points costs 4 MiB of memory."""
