"""The processes of candidates and their turns: FER-Edge, the fer package, and programs that are not candidates."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from fer_bench.pipeline.faces import Portrait
from fer_bench.pipeline.measure import in_turn, measure
from fer_bench.pipeline.processes import CandidateProcess, fer_package, own_candidate
from fer_bench.pipeline.scenes import FPS
from fer_bench.results.pipeline import SceneSettings
from fer_edge.errors import FerEdgeError, InputError, ModelError
from fer_edge.model.bundle import DEFAULT_BUNDLE
from fer_edge.model.labels import FER2013_LABELS
from support.processes.edge_command import face_picture
from support.processes.programs import assert_ends, script

READY = json.dumps({"how": "-", "versions": {"fer": "1"}})
FRAME = json.dumps({"seen": [], "wall_s": 0.1, "cpu_s": 0.1})
NOT_UNDERSTOOD = "gives an invalid answer"


def test_the_fer_package_where_there_is_one():
    python = os.environ.get("FER_PACKAGE_PYTHON")
    if not python:
        pytest.skip("no fer package: FER_PACKAGE_PYTHON names no Python that has it (make fer-env)")
    with fer_package(Path(python)) as candidate:
        assert "fer" in candidate.info.versions
        played = candidate.play("scene", [face_picture()] * 2, FPS)
    for (face,) in played.seen:
        assert face.label in FER2013_LABELS
        assert face.box.area > 1000


def test_a_candidate_that_cannot_load_says_why(tmp_path: Path):
    with pytest.raises(ModelError, match=r"^fer-edge: .*float64"):
        own_candidate("fer-edge", DEFAULT_BUNDLE, "float64")
    with pytest.raises(InputError, match=r"^fer-edge: "):
        own_candidate("fer-edge", tmp_path / "nowhere", "int8")


def test_a_candidate_that_dies_is_told_with_its_last_words():
    code = 'import sys; input(); print(\'{"how": "-", "versions": {}}\', flush=True); input(); sys.exit(\'burnt out\')'
    with CandidateProcess("dying", [sys.executable, "-c", code], {}) as candidate:
        with pytest.raises(FerEdgeError, match=r"dying: its process ended .*burnt out") as caught:
            candidate.play("scene", [face_picture()], FPS)
        assert "\n" not in str(caught.value)
        candidate.close()


def test_what_a_library_prints_does_not_get_between_the_answers():
    code = """
from fer_bench.pipeline.candidates import load
from fer_bench.pipeline.worker import serve

def chatty(request):
    print("a library says hello", flush=True)
    return load(request)

serve(chatty)
"""
    request = {"candidate": "tutorial-tflite", "bundle": str(DEFAULT_BUNDLE), "variant": "int8"}
    with CandidateProcess("chatty", [sys.executable, "-c", code], request) as candidate:
        played = candidate.play("scene", [face_picture()] * 3, FPS)
    assert [len(faces) for faces in played.seen] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo hello", NOT_UNDERSTOOD),
        ("echo '[]'", NOT_UNDERSTOOD),
        ("exec cat", NOT_UNDERSTOOD),  # says {}, as it was reported
        ("""echo '{"how": "-", "versions": 1}'""", NOT_UNDERSTOOD),
        ("printf '\\377\\n'", NOT_UNDERSTOOD),
        ("echo first >&2; echo last words >&2; exit 3", "its process ended (exit code 3): last words"),
        ("exec true", "its process ended (exit code 0): no reason"),
    ],
)
def test_a_program_that_is_no_python_is_one_line(tmp_path: Path, text: str, reason: str):
    with pytest.raises(ModelError, match=rf"^fer: .*{re.escape(reason)}$") as caught:
        fer_package(script(tmp_path / "program", text))
    assert "\n" not in str(caught.value)


def test_a_program_that_answers_wrong_leaves_nothing_running(tmp_path: Path):
    program = script(tmp_path / "program", f"sleep 1000 & echo $! > {tmp_path}/child; echo '{{}}'; wait")
    with pytest.raises(ModelError, match=NOT_UNDERSTOOD):
        fer_package(program)
    assert_ends(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize(
    "answers",
    [
        ["hello"],
        ["{}"],
        ['{"seen": [[1, 2, 3]], "wall_s": 0.1, "cpu_s": 0.1}', "{}"],
        ['{"seen": [], "wall_s": "soon", "cpu_s": 0.1}', '{"stages": {}, "steady": 1, "peak": 1}'],
        [FRAME, "[]"],
        [FRAME, '{"stages": [], "steady": 1, "peak": 1}'],
    ],
)
def test_a_wrong_answer_to_a_frame_is_one_line(tmp_path: Path, answers: list[str]):
    said = "; ".join(f"echo '{answer}'" for answer in (READY, *answers, READY))
    program = script(tmp_path / "program", f"{said}; exec cat >/dev/null")
    with fer_package(program) as candidate, pytest.raises(ModelError, match=rf"^fer: .*{NOT_UNDERSTOOD}$"):
        candidate.play("scene", [face_picture()], FPS)


def test_a_program_that_hangs_is_given_up(tmp_path: Path):
    with pytest.raises(ModelError, match=r"^slow: its process did not answer within 0.5 s$"):
        CandidateProcess("slow", ["sleep", "1000"], {}, timeout_s=0.5)
    # It does not read, and a picture does not fit into the pipe.
    program = script(tmp_path / "program", f"sleep 1000 & echo $! > {tmp_path}/child; echo '{READY}'; wait")
    with CandidateProcess("slow", [str(program)], {}, timeout_s=2) as candidate:
        with pytest.raises(ModelError, match=r"^slow: its process did not answer within 2 s$"):
            candidate.play("scene", [face_picture()], FPS)
        assert_ends(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("candidates", [1, 2, 3, 4])
@pytest.mark.parametrize("cells", [1, 2, 3, 4, 9])
def test_each_candidate_has_each_place_equally_often_in_every_cell(candidates: int, cells: int):
    names = tuple(range(candidates))
    for cell in range(cells):
        orders = [in_turn(names, round_number, cell) for round_number in range(candidates)]
        assert [sorted(order) for order in orders] == [list(names)] * candidates
        assert [sorted(place) for place in zip(*orders, strict=True)] == [list(names)] * candidates
    assert len({in_turn(names, 0, cell) for cell in range(cells)}) == min(candidates, cells)


def test_candidates_take_turns_in_another_order_in_the_next_round():
    blind = """
from fer_bench.pipeline.worker import serve

class Blind:
    how, versions = "sees nothing", {}
    begin = lambda self, scene, fps: None
    process = lambda self, picture, index: []
    stages = lambda self, scene: {}

serve(lambda request: Blind())
"""
    orders: dict[str, list[list[str]]] = {}
    command = [sys.executable, "-c", blind]
    with CandidateProcess("a", command, {}) as a, CandidateProcess("b", command, {}) as b:
        measure(
            (a, b),
            Portrait(),
            SceneSettings(((320, 240), (160, 160)), (0, 1), frames=5, rounds=2, fps=FPS),
            lambda turn: orders.setdefault(turn.cell.name, []).append(list(turn.played)),
        )
    assert len(orders) == 4
    for of_cell in orders.values():
        assert sorted(of_cell) == [["a", "b"], ["b", "a"]]
