"""The file of a chain: its steps and their order, and what is refused before the first step."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import cv2
import jsonschema
import pytest

from fer_chain import tasks
from fer_chain.plan import plan, select
from fer_chain.settings import Chain, chain_schema, load_chain
from fer_edge.commands.cli import main
from fer_edge.errors import ConfigError, InputError
from fer_edge.settings.base import decode
from support.data.fer2013 import write_mini_fer2013
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import assert_one_line, fer_edge
from support.training.chains import CHAIN, write_chain

PAGE = CHECKOUT / "docs" / "how-to" / "chain.md"
TWO = CHAIN.replace('"recipe.toml"', '"recipe.toml", "second.toml"') + "[average]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_chain(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(text: str, folder: Path) -> list[str]:
    (folder / "chain.toml").write_text(text)
    return [step.name for step in plan(load_chain(Path("chain.toml")), Path("chain.toml"))]


def test_a_run_that_starts_from_another_one_comes_after_it_wherever_it_is_listed(folder: Path) -> None:
    first, second = folder / "recipe.toml", folder / "second.toml"
    second.write_text(first.read_text())
    expected = ["data", "train-recipe", "train-second", "average", "convert", "gate", "bench-accuracy"]
    assert names(TWO, folder) == expected
    first.write_text(first.read_text().replace("[model]\n", '[model]\nweights = "out/runs/second"\n'))
    assert names(TWO, folder) == ["data", "train-second", "train-recipe", *expected[3:]]
    second.write_text(second.read_text().replace("[model]\n", '[model]\nweights = "out/runs/recipe"\n'))
    done = fer_edge("chain", "run", "chain.toml", cwd=folder)
    assert_one_line(done, 2, "chain.toml: steps depend on each other in a circle: train-", " → ")
    assert not (folder / "out").exists()


def test_steps_are_selected_by_name_and_by_kind(folder: Path) -> None:
    chain = folder / "chain.toml"
    chain.write_text(CHAIN.replace("report = false", "latency = []"))
    steps = plan(load_chain(chain), chain)

    def chosen(first: str | None, last: str | None) -> list[str]:
        return [step.name for step in select(steps, first, last)]

    assert chosen("gate", "bench") == ["gate", "bench-accuracy", "bench-latency"]
    assert chosen("bench-latency", None) == ["bench-latency", "report"]
    assert chosen(None, "data") == ["data"]
    with pytest.raises(ConfigError, match=r"--from deploy: no such step; steps of this chain: data, train, "):
        chosen("deploy", None)
    with pytest.raises(ConfigError, match="--to train: is before --from gate"):
        chosen("gate", "train")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", "chain.toml: train is missing"),
        (CHAIN + "[relaese]\n", "chain.toml: unknown key relaese; did you mean release?"),
        (CHAIN.replace("accuracy = []", "accuracy = 3"), "bench.accuracy must be a list"),
        (CHAIN.replace("accuracy = []", ""), "bench: nothing to run"),
        (CHAIN.replace("accuracy = []", "accuracy = ['--fianl']"), "step bench-accuracy: unknown option --fianl"),
        (CHAIN.replace("accuracy = []", "accuracy = ['--help']"), "step bench-accuracy: its arguments ask for help"),
        (CHAIN.replace("gate.toml", "none.toml"), "step gate: none.toml: no such file or folder"),
        (CHAIN.replace("recipe.toml", "none.toml"), "none.toml: no such file"),
        (CHAIN.replace("fer2013.csv", "none.csv"), "none.csv: no such file or folder"),
        (CHAIN.replace('"recipe.toml"', '"recipe.toml", "a/recipe.toml"'), "must have different file names"),
        (CHAIN.replace('"recipe.toml"', '"recipe.toml", "second.toml"'), "several train.recipes need [average]"),
        (CHAIN + "[average]\n", "average needs two runs"),
        (CHAIN + '[card]\nimage = "pi.img"\npi = "gate.toml"\n', "card.pi: gate.toml: its fer_edge.bundle must be /"),
        (CHAIN + '[card]\nimage = "gate.toml"\npi = "pi.toml"\n', "step card: none.toml: no such file or folder"),
        (CHAIN + '[deploy]\nhost = "pi@nowhere"\n', "chain.toml: deploy.settings is missing"),
        ("out = 3\n" + CHAIN.partition("\n")[2], "chain.toml: out must be a path, not 3"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    text: str, refusal: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "chain.toml").write_text(text)
    (folder / "pi.toml").write_text('[fer_edge]\nbundle = "out/bundle"\nconfig = "none.toml"\n')
    before = sorted(path.name for path in folder.iterdir())
    assert main(["chain", "run", "chain.toml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fer-edge: ") and printed.err.count("\n") == 1
    assert refusal in printed.err
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("words", [("run", "none.toml"), ("show", "none.toml"), ("export", "dvc", "none.toml")])
def test_a_missing_chain_is_one_line(words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chain", *words]) == 2
    assert capsys.readouterr().err == "fer-edge: none.toml: no such file\n"


def test_a_folder_that_the_chain_has_not_made_is_kept(folder: Path) -> None:
    precious = folder / "out" / "runs" / "recipe" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("")
    done = fer_edge("chain", "run", "chain.toml", cwd=folder)
    assert_one_line(done, 2, "out/runs/recipe: was not made by this chain")
    assert precious.is_file() and not (folder / "out" / ".chain").exists()
    # One that it has made is its own, also after its state was deleted.
    (folder / "out" / ".chain").mkdir()
    (folder / "out" / ".chain" / "train.begun").write_text("")
    done = fer_edge("chain", "run", "chain.toml", "--dry-run", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert precious.is_file()


def test_a_damaged_state_is_one_line(folder: Path) -> None:
    (folder / "out" / ".chain").mkdir(parents=True)
    (folder / "out" / ".chain" / "state.json").write_text("{")
    done = fer_edge("chain", "run", "chain.toml", cwd=folder)
    assert_one_line(done, 2, "state.json: is damaged; delete it, and all steps run again")


def test_a_missing_package_or_program_is_reported_before_the_first_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = folder / "chain.toml"
    chain.write_text(CHAIN + '[deploy]\nhost = "pi@nowhere"\nsettings = "gate.toml"\n')
    monkeypatch.setenv("PATH", "")
    assert main(["chain", "run", "chain.toml"]) == 2
    assert "step deploy: the program ssh is not installed" in capsys.readouterr().err
    for package, extra in (("statsmodels", "convert"), ("doit", "chain")):
        with monkeypatch.context() as without:
            without.setattr(
                importlib.util, "find_spec", lambda name, gone=package: None if name == gone else find_spec(name)
            )
            assert main(["chain", "run", "chain.toml"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"fer-edge: {package} is not installed: ") and f"[{extra}]'" in error
    assert not (folder / "out").exists()


def test_a_step_whose_input_another_step_writes_says_so(folder: Path) -> None:
    done = fer_edge("chain", "run", "chain.toml", "--from", "gate", cwd=folder)
    assert_one_line(done, 2, "step gate: out/bundle: step convert writes it: run that first")


def test_show_draws_each_step_once_and_under_what_it_needs(folder: Path) -> None:
    (folder / "chain.toml").write_text(CHAIN.replace("report = false", "latency = []"))
    done = fer_edge("chain", "show", "chain.toml", "--png", "graph.png", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "data  → out/audit.csv\n"
        "└── train  → out/runs/recipe/model.keras, out/runs/recipe/run.json, out/runs/recipe/config.toml\n"
        "    └── convert  → out/bundle\n"
        "        └── gate  → out/gate.json\n"
        "            ├── bench-accuracy  → out/accuracy.json\n"
        "            └── bench-latency  → out/latency.json\n"
        "                └── report  → out/report  (also after bench-accuracy)\n"
    )
    picture = cv2.imread(str(folder / "graph.png"))
    assert picture is not None and picture.shape[1] > picture.shape[0] > 100 and picture.std() > 5


def test_the_chain_of_the_guide_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text, tracking) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    monkeypatch.setenv(
        "FER_EDGE_DATA", str(write_mini_fer2013(tmp_path / "fer2013.csv", per_class=2, test_per_class=2))
    )
    monkeypatch.chdir(CHECKOUT)
    jsonschema.validate(tomllib.loads(text), chain_schema())
    steps = plan(decode(Chain, tomllib.loads(text), "guide"), Path("guide"))
    assert [step.kind for step in steps] == ["data", "train", "convert", "gate", "bench", "bench", "report", "deploy"]
    assert "[tracking]" in tracking
    listed = re.findall(r"^\| `(\w+)-?…?` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert listed == ["data", "train", "average", "convert", "gate", "bench", "report", "release", "card", "deploy"]


def test_a_card_and_a_release_are_the_commands_that_a_user_would_run(folder: Path) -> None:
    (folder / "pi.toml").write_text('[fer_edge]\nbundle = "out/bundle"\n')
    (folder / "pi.img").write_text("")
    chain = folder / "chain.toml"
    chain.write_text(CHAIN + '[release]\nrepository = "repo"\nrollout = 10\n[card]\nimage = "pi.img"\npi = "pi.toml"\n')
    release, card = plan(load_chain(chain), chain)[-2:]
    assert " ".join(release.words) == ("release publish out/bundle --to repo --channel stable --rollout 10% --no-gate")
    assert " ".join(card.words) == "flash compose --image pi.img --pi pi.toml --out out/card.img --force"
    assert release.after == card.after == ("bench-accuracy", "convert")


def test_help_loads_neither_doit_nor_matplotlib(folder: Path) -> None:
    code = (
        "import sys; from fer_edge.commands.cli import main; main(['chain', 'run', '--help']);"
        "print(sorted({'doit', 'matplotlib', 'keras', 'cv2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_an_input_that_cannot_be_read_is_refused(folder: Path) -> None:
    chain = folder / "chain.toml"
    steps = plan(load_chain(chain), chain)
    (folder / "gate.toml").unlink()
    (folder / "out" / "bundle").mkdir(parents=True)
    with pytest.raises(InputError, match=r"step gate: gate\.toml: no such file or folder"):
        tasks.Chain(select(steps, "gate", "gate"), steps, folder / "out").run()
