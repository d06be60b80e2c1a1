"""Arguments of ``fer-edge data``, ``train`` and ``average``; the modules that do the work are imported on use."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.argument_types import count
from fer_edge.commands.cli import Command, add_file, add_subcommands, deferred
from fer_edge.errors import ConfigError

_SPLITS = ("Training", "PublicTest", "PrivateTest", "train", "validation", "test")


def _add_data_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="FER2013 as CSV (plain, .xz, .gz, .zip, .tar.gz), class folders, the folder that holds it, or a recipe, "
        "for the sets of its [data] (default: FER_EDGE_DATA, else ./data, else the user's cache folder)",
    )
    parser.add_argument(
        "--skip-bad-rows",
        "--skip-bad",
        action="store_true",
        help="leave out malformed rows and images, and count them, instead of stopping",
    )


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    _add_data_source(parser)
    parser.add_argument("--data", type=Path, metavar="PATH", help="the same as PATH, as for fer-edge train")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--list", type=Path, metavar="FILE.csv", help="write all findings: kind, split, row, label, group"
    )


def _configure_export(parser: argparse.ArgumentParser) -> None:
    _add_data_source(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to create")
    parser.add_argument(
        "--format", choices=("png", "jpg"), default="png", help="png keeps every pixel (default), jpg does not"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=_SPLITS,
        metavar="SPLIT",
        help="Training, PublicTest and PrivateTest of FER2013, train, validation and test of other data "
        "(default: all three)",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier export in DIR")


def _configure_explore(parser: argparse.ArgumentParser) -> None:
    _add_data_source(parser)
    add_file(parser, "--recipe", help="explore the data of this recipe's [data]")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for explore.html and the PNGs")
    parser.add_argument(
        "--augment", type=Path, metavar="F", help="also draw images augmented by this recipe's [augment]"
    )
    parser.add_argument("--force", action="store_true", help="replace the pictures in DIR")


def _configure_soft_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "teachers", nargs="+", type=Path, metavar="TEACHER", help="a run's folder, a .keras file or a bundle"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="file to write")
    parser.add_argument("--data", type=Path, metavar="PATH", help="as for fer-edge data audit")
    parser.add_argument("--force", action="store_true", help="replace an existing FILE.npz")
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=1.0,
        metavar="T",
        help="softmax temperature; above 1 softens the probabilities (default: 1)",
    )


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 100, not {text}")
    return value


def _configure_data(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "audit": Command(
                "count images; find duplicates, leaks, label conflicts, blanks",
                _configure_audit,
                deferred("fer_train.commands.data:audit"),
            ),
            "explore": Command(
                "draw samples, balance, mean faces, brightness, near-duplicates, conflicts, augmentation",
                _configure_explore,
                deferred("fer_train.commands.explore:explore"),
            ),
            "export": Command(
                "write the images out as class folders", _configure_export, deferred("fer_train.commands.data:export")
            ),
            "soft-labels": Command(
                "write trained models' probabilities for Training, to train other models with",
                _configure_soft_labels,
                deferred("fer_train.commands.data:soft_labels"),
            ),
        },
    )


DATA = Command("audit, explore and convert FER2013 or other data: audit, explore, export, soft-labels", _configure_data)


def _configure_train(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "--recipe", required=True, help="the recipe, a TOML file")
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run (default: runs/<recipe's name>)")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="FER2013, or class folders (default: as for fer-edge data)"
    )
    parser.add_argument(
        "--skip-bad-rows", "--skip-bad", action="store_true", help="leave out malformed rows and images, and count them"
    )
    parser.add_argument(
        "--weights",
        metavar="W",
        help="initial weights: the folder of a run or its .keras file, or none; for vgg16 imagenet (downloaded once), "
        "none, or the path of a copy (default: those of the recipe)",
    )
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="RUN",
        help="start from a shorter run of the same recipe, before its rate fell (see loop.cooldown_epochs)",
    )
    beginning.add_argument(
        "--resume", action="store_true", help="continue after the last whole epoch of the run in --out"
    )
    parser.add_argument(
        "--allow-other-data",
        action="store_true",
        help="with --resume or --from: continue on another data set than before; run.json then names all of them",
    )
    _add_several(parser)
    _add_search(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    search = parser.add_argument_group("search")
    search.add_argument(
        "--tune",
        action="store_true",
        help="search the ranges of the recipe's [tune] instead, with Optuna; the same command, or one with --resume, "
        "joins a search that is running. Without --storage, --out must be on a local disk",
    )
    search.add_argument(
        "--storage",
        metavar="URL",
        help="with --tune: keep the study in PostgreSQL, postgresql://USER:PASSWORD@HOST/DATABASE, so that several "
        "machines search together; each runs the same command with a different --out (default: study.db in --out)",
    )
    search.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="with --tune: number of trials at once, each in a process with a share of the cores (default: 1)",
    )


def _add_several(parser: argparse.ArgumentParser) -> None:
    several = parser.add_argument_group("several processes or machines that train as one, on JAX")
    several.add_argument(
        "--coordinator", type=_address, metavar="HOST:PORT", help="address of process 0, and a free port there"
    )
    several.add_argument("--processes", type=int, metavar="N", help="number of processes")
    several.add_argument(
        "--process", type=int, metavar="I", help="rank of this process: 0..N-1; 0 writes the run's folder"
    )
    several.add_argument(
        "--wait", type=float, metavar="S", help="seconds to wait until all processes are connected (default: 300)"
    )


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, such as 192.168.1.10:9000, not {text!r}")
    return text


def _train(arguments: argparse.Namespace) -> int:
    if arguments.tune:
        from fer_train.tuning.command import run as search

        return search(arguments)
    if arguments.workers is not None:
        raise ConfigError("--workers: needs --tune")
    if arguments.storage is not None:
        raise ConfigError("--storage: needs --tune")
    from fer_train.commands.train import run

    return run(arguments)


TRAIN = Command("train a model by a recipe", _configure_train, _train)


def _configure_average(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs of one network; two or more"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder to create, for fer-edge convert")
    parser.add_argument("--data", type=Path, metavar="PATH", help="as for fer-edge train")


AVERAGE = Command(
    "average the weights of several runs that started from the same weights",
    _configure_average,
    deferred("fer_train.commands.average:run"),
)
