"""`fer-edge export mcu`: the sources contain the model and golden outputs of LiteRT. `make test-mcu` runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.profile.graph import Graph, Operator, Tensor, read_graph
from fer_bench.results.mcu import load_mcu_report
from fer_convert.mcu.arena import ALIGNMENT, activation_bytes, arena_bytes
from fer_convert.mcu.export import FILES, c_string, needs_of
from fer_convert.mcu.golden import reference_outputs
from fer_convert.mcu.operators import resolver_calls
from fer_edge import load_bundle
from fer_edge.errors import ModelError
from support.processes.edge_command import assert_one_line, fer_edge

MODELS = Path(__file__).parents[2] / "models"


def array(text: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the numbers of the initializer of a C array."""
    body = text[text.index("= {") + 3 : text.index("};")]
    return np.array([int(number) for number in re.findall(r"-?\d+", body)])


def test_the_sources_hold_the_model_and_its_golden_outputs(tmp_path: Path) -> None:
    result = fer_edge("export", "mcu", MODELS / "fer-edge-xs", "--out", "fw", "--golden", 6, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "fw").iterdir()) == sorted(FILES)
    texts = {name: (tmp_path / "fw" / name).read_text() for name in FILES}
    assert not [name for name, text in texts.items() if re.search(r"\$[a-z{]", text) and name != "CMakeLists.txt"]
    with load_bundle(MODELS / "fer-edge-xs") as bundle:
        variant = bundle.variant("int8")
        assert array(texts["model.cc"]).astype(np.uint8).tobytes() == variant.path.read_bytes()
        inputs, outputs = texts["golden.cc"].split("kGoldenOutputs", 1)
        images = array(inputs).astype(np.uint8).reshape(6, 48, 48)
        expected = reference_outputs(variant.path, images)
        np.testing.assert_array_equal(array(outputs).reshape(6, 7), expected)
    assert images[-2].max() == 0 and images[-1].min() == 255
    assert len({int(row.argmax()) for row in expected[:4]}) >= 2  # the drawn face changes its expression
    header = texts["model.h"]
    assert 'kLabels[kLabelCount] = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}' in header
    assert set(re.findall(r"resolver\.(\w+)\(\)", header)) == {
        "AddAdd", "AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMean", "AddQuantize",
    }  # fmt: skip
    (arena,) = re.findall(r"kArenaBytes = (\d+);", header)
    assert 122_788 <= int(arena) <= 1.2 * 122_788  # TFLM's use on a Cortex-M3, by make test-mcu
    assert f"{int(arena):,} bytes in RAM" in result.stdout


def test_the_published_memory_is_of_the_released_models_and_within_the_estimates() -> None:
    results = load_mcu_report(MODELS.parent / "benchmarks" / "results" / "mcu" / "cortex-m3.json").results
    assert [each.bundle for each in results] == ["fer-edge-xs", "fer-edge-s"]
    for each in results:
        with load_bundle(MODELS / each.bundle) as bundle:
            path = bundle.variant("int8").path
            assert each.sha256 == bundle.variant("int8").sha256
        needs = needs_of(read_graph(path), path.stat().st_size)
        assert (needs.model, needs.code, needs.arena) == (
            each.model_bytes, each.code_estimate_bytes, each.arena_estimate_bytes,
        )  # fmt: skip
        assert each.code_bytes <= needs.code and each.arena_bytes <= needs.arena
        assert each.golden >= 50 and each.max_difference <= 1
        row = f"| {each.bundle} | {each.model_bytes:,} | {each.code_bytes:,} | {each.arena_bytes:,} | "
        assert row in (MODELS / each.bundle / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--max-arena", "32k"), 4, ("fer-edge-xs", "RAM for the arena", "--max-arena is 32,768", "--max-arena 128k")),
        (("--max-flash", "128k"), 4, ("bytes of flash", "--max-flash is 131,072")),
        (("--variant", "float32"), 4, ("float32 input", "--variant int8")),
        (("--variant", "int9"), 4, ("no variant 'int9'",)),
        (("--max-arena", "lots"), 2, ("--max-arena", "64k or 1M")),
        (("--max-arena", "0"), 2, ("--max-arena",)),
        (("--golden", "0"), 2, ("--golden",)),
        (("--data", "missing"), 2, ("missing",)),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    result = fer_edge("export", "mcu", MODELS / "fer-edge-xs", "--out", "fw", *arguments, cwd=tmp_path)
    assert_one_line(result, code, *said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    command = ("export", "mcu", MODELS / "fer-edge-xs", "--out", "fw", "--golden", 2)
    assert fer_edge(*command, cwd=tmp_path).returncode == 0
    assert_one_line(fer_edge(*command, cwd=tmp_path), 2, "an export already", "--force")
    assert fer_edge(*command, "--force", cwd=tmp_path).returncode == 0
    (tmp_path / "fw" / "notes.txt").write_text("mine")
    assert_one_line(fer_edge(*command, "--force", cwd=tmp_path), 2, "notes.txt", "not part of an export")
    assert (tmp_path / "fw" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    assert_one_line(fer_edge(*command[:4], "file", cwd=tmp_path), 2, "is a file")


def test_operators_that_tflm_lacks_are_named(tmp_path: Path) -> None:
    graph = read_graph(MODELS / "fer-edge-xs" / "int8.tflite")
    odd = Graph(graph.tensors, (*graph.operators, Operator("CUSTOM:Blur", (0,), (1,))), graph.inputs, graph.outputs)
    with pytest.raises(ModelError, match="does not have CUSTOM:Blur"):
        resolver_calls(odd)
    assert resolver_calls(Graph((), (Operator("PADV2", (), ()), Operator("MAX_POOL_2D", (), ())), (), ())) == (
        "AddMaxPool2D", "AddPadV2",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["fer-edge-s", "fer-edge-xs"])
def test_the_graph_has_the_operations_that_the_model_card_states(name: str) -> None:
    graph = read_graph(MODELS / name / "int8.tflite")
    macs = sum(graph.macs(operator) for operator in graph.operators)
    stated = json.loads((MODELS / name / "manifest.json").read_text())["training"]["macs"]
    assert macs == pytest.approx(stated, rel=0.01)
    weights = sum(tensor.bytes for tensor in graph.tensors if tensor.constant and tensor.dtype == "int8")
    assert weights == pytest.approx({"fer-edge-s": 979_000, "fer-edge-xs": 115_000}[name], rel=0.05)


@pytest.mark.parametrize("cut", [0, 4, 100, 5_000])
def test_damaged_files_are_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "m.tflite").write_bytes((MODELS / "fer-edge-xs" / "int8.tflite").read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"m\.tflite: not a usable"):
        read_graph(tmp_path / "m.tflite")


chains = st.lists(st.tuples(st.integers(1, 5_000), st.booleans()), min_size=2, max_size=12)


@given(chains)
def test_the_plan_is_at_least_what_lives_at_once_and_at_most_everything(chain: list[tuple[int, bool]]) -> None:
    """A chain of layers, some of which also read the output two layers before."""
    tensors = tuple(Tensor(f"t{number}", (size,), "int8", size, False, (), 0) for number, (size, _) in enumerate(chain))
    operators = tuple(
        Operator("ADD", (number, number - 1) if skips and number > 0 else (number,), (number + 1,))
        for number, (_, skips) in enumerate(chain[:-1])
    )
    graph = Graph(tensors, operators, (0,), (len(chain) - 1,))
    sizes = [-(-size // ALIGNMENT) * ALIGNMENT for size, _ in chain]
    alive = [
        sum(sizes[index] for index in {*operator.inputs, *operator.outputs}) for operator in operators
    ]  # fmt: skip
    assert max(alive) <= activation_bytes(graph) <= sum(sizes)
    assert arena_bytes(graph) >= activation_bytes(graph)


def test_labels_of_any_characters_are_c_strings() -> None:
    assert c_string('a"b\\c?') == r"a\042b\134c\077"
    assert c_string("fröhlich") == r"fr\303\266hlich"
