"""From the file of a chain to its steps: one command each, with the files that it reads and writes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from fer_chain.settings import Chain
from fer_edge.commands.cli import build_parser
from fer_edge.errors import ConfigError, InputError
from fer_edge.settings.toml_files import read_toml
from fer_train.data.ferplus import FILE_NAMES as VOTES
from fer_train.data.readers.locate import locate
from fer_train.recipe.recipe import RUN_CONFIG, Recipe, load_recipe
from fer_train.training.run_folder.files import MODEL, RUN

ORDER = ("data", "train", "average", "convert", "gate", "bench", "report", "release", "card", "deploy")
"""The kinds of steps, in the order in which they run."""
_TRAIN = ("fer_edge", "fer_train")
_MODEL_SUFFIXES = (".keras", ".h5")
_PACKAGES = {
    **dict.fromkeys(("data", "train", "average"), _TRAIN),
    **dict.fromkeys(("convert", "gate"), (*_TRAIN, "fer_bench", "fer_convert")),
    "bench": (*_TRAIN, "fer_bench"),
    "report": ("fer_edge", "fer_bench"),
    "release": ("fer_edge", "fer_release"),
    **dict.fromkeys(("card", "deploy"), ("fer_edge", "fer_flash")),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a chain.

    Attributes:
        kind: One of ``ORDER``.
        name: The kind, or the kind and a name, such as ``bench-accuracy``.
        words: The command after ``fer-edge``.
        inputs: Files and folders that it reads.
        outputs: Files and folders that it writes.
        after: Names of the steps that must be done before, also those that write no input of this one.
        resumes: File in the output that shows that the command can continue it with ``--resume``.
        must_be_new: The folder that it makes, and refuses if it contains something.
    """

    kind: str
    name: str
    words: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...] = ()
    after: tuple[str, ...] = ()
    resumes: Path | None = None
    must_be_new: Path | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose code the step runs."""
        return _PACKAGES[self.kind]


def plan(chain: Chain, file: Path) -> list[Step]:
    """Return the steps of ``chain``, whose settings are in ``file``, in the order in which they run.

    Raises:
        ConfigError: if a command would not accept its arguments, or if steps depend on each other in a circle.
        InputError: if a file that no step writes is missing.
    """
    steps = _ordered(_connected(list(_Builder(chain, file).steps())), file)
    for step in steps:
        _check_arguments(step, file)
        for path in step.inputs:
            if not path.exists() and not any(_holds(output, path) for each in steps for output in each.outputs):
                raise InputError(f"{file}: step {step.name}: {path}: no such file or folder")
    return steps


def select(steps: Sequence[Step], first: str | None, last: str | None) -> list[Step]:
    """Return the steps from ``first`` to ``last``; each is the name or the kind of a step, or None for no limit.

    Raises:
        ConfigError: if there is no such step, or ``last`` is before ``first``.
    """
    names = [step.name for step in steps]

    def places(wanted: str, option: str) -> list[int]:
        found = [index for index, step in enumerate(steps) if wanted in (step.name, step.kind)]
        if not found:
            raise ConfigError(f"{option} {wanted}: no such step; steps of this chain: {', '.join(names)}")
        return found

    begin = 0 if first is None else places(first, "--from")[0]
    end = len(steps) if last is None else places(last, "--to")[-1] + 1
    if begin >= end:
        raise ConfigError(f"--to {last}: is before --from {first}; steps in order: {', '.join(names)}")
    chosen = steps[begin:end]
    kept = {step.name for step in chosen}
    return [replace(step, after=tuple(name for name in step.after if name in kept)) for step in chosen]


class _Builder:
    """Makes the steps of one chain; ``after`` contains only the order that no file shows."""

    def __init__(self, chain: Chain, file: Path) -> None:
        self._chain, self._file, self._out = chain, file, Path(chain.out)
        self._recipes = {Path(name): load_recipe(Path(name)) for name in chain.train.recipes}
        first, recipe = next(iter(self._recipes.items()))
        self._data: tuple[str, ...] = ()
        if chain.data.path is not None:
            self._data = (chain.data.path,)
        elif any(each.path for each in recipe.data.sets):
            self._data = (str(first),)
        self._bundle = self._out / "bundle"
        self._done: list[str] = []

    def steps(self) -> Iterator[Step]:
        chain, out = self._chain, self._out
        audit = out / "audit.csv"
        inputs = tuple(dict.fromkeys(path for recipe in self._recipes.values() for path in self._images(recipe)))
        yield Step("data", "data", ("data", "audit", *self._data, "--list", str(audit)), inputs, (audit,))
        runs = [out / "runs" / recipe.stem for recipe in self._recipes]
        for (path, recipe), run in zip(self._recipes.items(), runs, strict=True):
            name = "train" if len(runs) == 1 else f"train-{path.stem}"
            words = ("train", "--recipe", str(path), "--out", str(run), *self._data_option(own=True))
            reads = (path, *self._images(recipe), *_files_of(recipe))
            words = (*words, *chain.train.arguments)
            yield Step("train", name, words, reads, _model_files(run), ("data",), run / RUN_CONFIG, run)
        model = runs[0]
        if chain.average is not None:
            model = out / "average"
            averaged = [*runs, *map(Path, chain.average.runs)]
            words = ("average", *map(str, averaged), "--out", str(model), *self._data_option(own=True))
            reads = tuple(file for run in averaged for file in _model_files(run))
            yield Step("average", "average", words, (*reads, *inputs), (model,), must_be_new=model)
        yield self._convert(model, inputs)
        yield from self._checks(inputs)
        yield from self._deliveries()

    def _convert(self, model: Path, images: tuple[Path, ...]) -> Step:
        settings = self._chain.convert
        words = [
            "convert",
            str(model),
            "--out",
            str(self._bundle),
            "--variants",
            ",".join(settings.variants),
            "--force",
        ]
        for flag, value in (
            ("--name", settings.name), ("--model-version", settings.version), ("--license", settings.license)
        ):  # fmt: skip
            words += [flag, value] if value is not None else []
        if settings.min_recall:
            words += ["--min-recall", *(f"{label}={share:g}" for label, share in settings.min_recall.items())]
        words += [*self._data_option(), *settings.arguments]
        return Step("convert", "convert", tuple(words), (*_model_files(model), *images), (self._bundle,))

    def _checks(self, images: tuple[Path, ...]) -> Iterator[Step]:
        chain, out, bundle = self._chain, self._out, str(self._bundle)
        last: tuple[str, ...] = ()
        if chain.gate is not None:
            found = out / "gate.json"
            words = ("bundle", "check", bundle, "--gate", chain.gate.rules, "--json", str(found), *self._data_option())
            yield Step("gate", "gate", words, (self._bundle, Path(chain.gate.rules), *images), (found,))
            last = ("gate",)
        if chain.bench is not None:
            reports = []
            for name, arguments in chain.bench.chosen.items():
                reports.append(out / f"{name}.json")
                of_data = name in ("accuracy", "sequence")
                words = ("bench", name, "--bundle", bundle, "--json", str(reports[-1]))
                words += (*(self._data_option() if of_data else ()), *arguments)
                reads = (self._bundle, *(images if of_data else ()))
                yield Step("bench", f"bench-{name}", words, reads, (reports[-1],), last)
            last = tuple(f"bench-{name}" for name in chain.bench.chosen)
            if chain.bench.report:
                words = ("bench", "report", *map(str, reports), "--out", str(out / "report"))
                yield Step("report", "report", words, tuple(reports), (out / "report",))
                last = ("report",)
        self._done = list(last)

    def _deliveries(self) -> Iterator[Step]:
        chain, after = self._chain, tuple(self._done)
        words: tuple[str, ...]
        if (release := chain.release) is not None:
            # The step `gate` has judged this bundle.
            words = ("release", "publish", str(self._bundle), "--to", release.repository, "--channel", release.channel)
            words += ("--rollout", f"{release.rollout}%", "--no-gate", *release.arguments)
            yield Step("release", "release", words, (self._bundle,), (), after)
        if (card := chain.card) is not None:
            named = self._named_by(Path(card.pi))
            image = self._out / "card.img"
            words = ("flash", "compose", "--image", card.image, "--pi", card.pi, "--out", str(image), "--force")
            words += (*(("--sha256", card.sha256) if card.sha256 else ()), *card.arguments)
            reads = (self._bundle, Path(card.pi), *named, *(() if "://" in card.image else (Path(card.image),)))
            yield Step("card", "card", words, reads, (image,), after)
        if (deploy := chain.deploy) is not None:
            words = ("deploy", deploy.host, "--bundle", str(self._bundle), "--yes")
            words += ("--settings", deploy.settings, *deploy.arguments)
            yield Step("deploy", "deploy", words, (self._bundle, Path(deploy.settings)), (), after)

    def _named_by(self, pi: Path) -> tuple[Path, ...]:
        """Return the settings of the daemon that the settings ``pi`` name. Raises ConfigError for another bundle."""
        # Not the files of secrets: the chain's state would contain their hashes, from which a short one can be guessed.
        table = read_toml(pi).get("fer_edge", {})
        named = table if isinstance(table, dict) else {}
        bundle, config = named.get("bundle"), named.get("config")
        if not isinstance(bundle, str) or (pi.parent / bundle).resolve() != self._bundle.resolve():
            raise ConfigError(f"{self._file}: card.pi: {pi}: its fer_edge.bundle must be {self._bundle.resolve()}")
        return (pi.parent / config,) if isinstance(config, str) else ()

    def _data_option(self, *, own: bool = False) -> tuple[str, ...]:
        """Return ``--data``; ``own`` for a command that knows the recipe."""
        if not self._data or (own and self._chain.data.path is None):
            return ()
        return ("--data", *self._data)

    def _images(self, recipe: Recipe) -> tuple[Path, ...]:
        sets = recipe.data.sets
        paths = [Path(each.path) for each in sets if each.path]
        if not paths or any(not each.path for each in sets):
            data = self._chain.data.path
            found = Path(data) if data is not None and Path(data).suffix.lower() == ".toml" else None
            found = found or locate(None if data is None else Path(data))
            paths.append(found)
            votes = (found.parent / name for name in VOTES)
            paths += [path for path in votes if path.is_file()]
        return tuple(paths)


def _files_of(recipe: Recipe) -> tuple[Path, ...]:
    """Return the files and folders that a recipe names, other than images."""
    targets, model = recipe.targets, recipe.model
    named = [Path(targets.teacher_labels)] if targets.teacher_labels else []
    for path in map(Path, filter(None, (model.weights, *targets.teacher_models))):
        named.append(path if path.suffix in _MODEL_SUFFIXES else path / MODEL)  # the folder of a run
    if model.uses_vgg16 and model.vgg16 is not None and model.vgg16.weights not in ("imagenet", "none"):
        named.append(Path(model.vgg16.weights))
    module = Path(model.architecture.partition(":")[0].replace(".", "/") + ".py")
    if ":" in model.architecture and module.is_file():
        named.append(module)
    return tuple(named)


def _model_files(run: Path) -> tuple[Path, ...]:
    return tuple(run / name for name in (MODEL, RUN, RUN_CONFIG))


def _holds(output: Path, path: Path) -> bool:
    output, path = output.absolute(), path.absolute()
    return output == path or output in path.parents


def _connected(steps: list[Step]) -> list[Step]:
    """Return the steps with those in ``after`` that write one of their inputs."""

    def writers(reader: Step) -> Iterator[str]:
        for path in reader.inputs:
            for step in steps:
                if any(_holds(output, path) or _holds(path, output) for output in step.outputs):
                    yield step.name

    return [replace(step, after=tuple(dict.fromkeys((*step.after, *writers(step))))) for step in steps]


def _ordered(steps: list[Step], file: Path) -> list[Step]:
    sorter = TopologicalSorter({step.name: step.after for step in steps})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise ConfigError(f"{file}: steps depend on each other in a circle: {circle}") from None
    # Of the steps that can run next, take the first one of the file, to keep its order wherever possible.
    ordered: list[Step] = []
    place: Callable[[str], int] = [step.name for step in steps].index
    ready: set[str] = set()
    while sorter.is_active():
        ready |= set(sorter.get_ready())
        name = min(ready, key=place)
        ready.remove(name)
        ordered.append(steps[place(name)])
        sorter.done(name)
    return ordered


def _check_arguments(step: Step, file: Path) -> None:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            build_parser(step.words).parse_args(list(step.words))
    except SystemExit:
        reason = errors.getvalue().removeprefix("fer-edge: ").strip() or "its arguments ask for help or a version"
        raise ConfigError(f"{file}: step {step.name}: {reason}") from None
