"""The file of a chain: its settings, read from TOML, and their JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fer_edge.settings.base import Settings, decode, require, table_schema
from fer_edge.settings.toml_files import read_toml
from fer_edge.settings.values import Share

FilePath = Annotated[str, Meta(min_length=1, extra={"allowed": "a path"})]
Arguments = tuple[str, ...]
_MORE = 'More arguments of `fer-edge {}`, such as `["{}"]`.'


class DataStep(Settings, frozen=True):
    """``[data]``: the images, and the step `data`, which audits them."""

    path: Annotated[
        FilePath | None,
        Meta(description="The data, as for `fer-edge data audit`. Not set: the recipe's sets, or the default places."),
    ] = None


class TrainStep(Settings, frozen=True):
    """``[train]``: one step `train`, or a step `train-NAME` for each of several recipes."""

    recipes: Annotated[
        Annotated[tuple[FilePath, ...], Meta(min_length=1)],
        Meta(description="Recipes; each is trained into `OUT/runs/NAME`, where NAME is the recipe's file name."),
    ]
    arguments: Annotated[Arguments, Meta(description=_MORE.format("train", "--skip-bad-rows"))] = ()


class AverageStep(Settings, frozen=True):
    """``[average]``: the step `average`, the mean of the weights of several runs."""

    runs: Annotated[
        tuple[FilePath, ...], Meta(description="Folders of finished runs to average together with those of `[train]`.")
    ] = ()


class ConvertStep(Settings, frozen=True):
    """``[convert]``: the step `convert`, which makes the bundle `OUT/bundle`."""

    variants: Annotated[
        Annotated[tuple[FilePath, ...], Meta(min_length=1)],
        Meta(description='Variants of the bundle, or `["all"]`. A gate needs `float32`.'),
    ] = ("float32", "int8")
    name: Annotated[FilePath | None, Meta(description="Name of the bundle. Not set: the recipe's.")] = None
    version: Annotated[FilePath | None, Meta(description="Version of the bundle, X.Y.Z. Not set: 1.0.0.")] = None
    license: Annotated[FilePath | None, Meta(description="License of the weights. Not set: unknown.")] = None
    min_recall: Annotated[
        dict[str, Share], Meta(description="Minimum recall of rare classes, such as `{ disgust = 0.55 }`.")
    ] = msgspec.field(default_factory=dict)
    arguments: Annotated[Arguments, Meta(description=_MORE.format("convert", "--input-range=-1..1"))] = ()


class GateStep(Settings, frozen=True):
    """``[gate]``: the step `gate`; if the bundle breaks a rule, the chain stops here."""

    rules: Annotated[FilePath, Meta(description="File of the rules.")]


class BenchStep(Settings, frozen=True):
    """``[bench]``: a step `bench-NAME` for each key that is set, with more arguments of it: `latency = []` runs
    `fer-edge bench latency`. The step `report` then makes a page of all of them."""

    accuracy: Annotated[Arguments | None, Meta(description=_MORE.format("bench accuracy", "--final"))] = None
    latency: Annotated[Arguments | None, Meta(description=_MORE.format("bench latency", "--rounds=5"))] = None
    pipeline: Annotated[Arguments | None, Meta(description=_MORE.format("bench pipeline", "--rounds=5"))] = None
    sequence: Annotated[Arguments | None, Meta(description=_MORE.format("bench sequence", "--no-costs"))] = None
    report: Annotated[bool, Meta(description="Whether to make the page `OUT/report/report.html`.")] = True

    def _check(self) -> None:
        require(bool(self.chosen), "nothing to run: set accuracy, latency, pipeline or sequence, such as accuracy = []")

    @property
    def chosen(self) -> dict[str, Arguments]:
        """The arguments of each benchmark that is to run."""
        each = {name: getattr(self, name) for name in ("accuracy", "latency", "pipeline", "sequence")}
        return {name: arguments for name, arguments in each.items() if arguments is not None}


class ReleaseStep(Settings, frozen=True):
    """``[release]``: the step `release`, which signs the bundle and publishes it to a repository."""

    repository: Annotated[FilePath, Meta(description="Folder of the repository, made by `fer-edge release init`.")]
    channel: Annotated[Literal["stable", "canary"], Meta(description="Channel of the release.")] = "stable"
    rollout: Annotated[
        Annotated[int, Meta(ge=0, le=100)], Meta(description="Percentage of the devices that take the release.")
    ] = 100
    arguments: Annotated[Arguments, Meta(description=_MORE.format("release publish", "--keys=DIR"))] = ()


class CardStep(Settings, frozen=True):
    """``[card]``: the step `card`, which makes the card image `OUT/card.img`."""

    image: Annotated[FilePath, Meta(description="Stock image of Raspberry Pi OS Lite, 64-bit; a file or a URL.")]
    pi: Annotated[FilePath, Meta(description="Settings of the Pi; `fer_edge.bundle` in it must be `OUT/bundle`.")]
    sha256: Annotated[FilePath | None, Meta(description="Published SHA-256 of the image; required for a URL.")] = None
    arguments: Annotated[Arguments, Meta(description=_MORE.format("flash compose", "--apt-online"))] = ()


class DeployStep(Settings, frozen=True):
    """``[deploy]``: the step `deploy`, which installs the bundle on a running Pi over SSH, without asking."""

    host: Annotated[FilePath, Meta(description="The Pi, `USER@HOST`, as for ssh.")]
    settings: Annotated[FilePath, Meta(description="Settings of the daemon; without them no bundle can be installed.")]
    arguments: Annotated[Arguments, Meta(description=_MORE.format("deploy", "--port=2222"))] = ()


class Chain(Settings, frozen=True):
    """All steps of a chain. A step whose table is not set is left out, except for `data` and `convert`."""

    train: TrainStep
    out: Annotated[FilePath, Meta(description="Folder of all results, called OUT here.")] = "chain-out"
    data: DataStep = DataStep()
    average: AverageStep | None = None
    convert: ConvertStep = ConvertStep()
    gate: GateStep | None = None
    bench: BenchStep | None = None
    release: ReleaseStep | None = None
    card: CardStep | None = None
    deploy: DeployStep | None = None

    def _check(self) -> None:
        names = [Path(recipe).stem for recipe in self.train.recipes]
        require(len(set(names)) == len(names), f"train.recipes must have different file names, not {', '.join(names)}")
        if self.average is None:
            require(len(names) == 1, "several train.recipes need [average], which makes one model of them")
        else:
            require(
                len(names) + len(self.average.runs) > 1, "average needs two runs: add to train.recipes or average.runs"
            )


def load_chain(path: Path) -> Chain:
    """Read the file of a chain. Raises ConfigError: the message names the file, the key and what is allowed."""
    return decode(Chain, read_toml(path), str(path))


def chain_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``Chain``, by which editors complete and check a file.

    >>> chain_schema()["title"]
    'Chain of fer-edge chain'
    """
    return table_schema(Chain, "Chain of fer-edge chain")
