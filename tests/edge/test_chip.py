"""Reading temperature and throttling, and the search budget derived from them."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.chip.budget import HYSTERESIS_C, MAX_RISE, ChipMonitor, next_share
from fer_edge.chip.mailbox import (
    GENCMD_REQUEST,
    THROTTLED_REQUEST,
    gencmd_answer,
    query_throttled,
    throttled_answer,
)
from fer_edge.chip.reading import FLAGS, named_flags, parse_temperature, parse_throttled, read_chip
from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings, ScheduleSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import ChipSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.detection.choice import make_detector
from fer_edge.status import ChipStatus, StatusBoard
from fer_edge.types import Face, FrameResult, Search, UInt8Array
from support.cameras.scenes import demo_frames
from support.devices.sysfs import FakeSysfs
from support.processes.edge_command import clean_environment, command_line, fer_edge

SETTINGS = ChipSettings(warm_c=70, hot_c=80, min_budget_share=0.1)
DEGREES = st.none() | st.floats(-50, 150)
SHARES = st.floats(0, 1)
SOME_FLAGS = st.sets(st.sampled_from(FLAGS))


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "sys")


# Reading


def test_a_pi_is_read(sysfs: FakeSysfs) -> None:
    sysfs.set_temperature(48.312)
    sysfs.set_throttled(0x50005)
    assert read_chip(sysfs.root) == ChipStatus(48.312, ("under-voltage", "throttled"), ("under-voltage", "throttled"))
    sysfs.set_throttled(0x80000)
    assert read_chip(sysfs.root) == ChipStatus(48.312, (), ("soft temperature limit",))


def test_newer_kernels_report_only_under_voltage(sysfs: FakeSysfs) -> None:
    sysfs.write("class/hwmon/hwmon0/name", "cpu_thermal\n")
    sysfs.set_voltage_alarm(True)
    assert read_chip(sysfs.root).throttled == ("under-voltage",)
    sysfs.set_voltage_alarm(False)
    assert read_chip(sysfs.root).throttled == ()


def test_the_processors_temperature_comes_before_others(sysfs: FakeSysfs) -> None:
    for number, (kind, celsius) in enumerate((("acpitz", 20), ("nvme", 30), ("x86_pkg_temp", 50), ("cpu-thermal", 60))):
        sysfs.set_temperature(celsius, number, kind)
    assert read_chip(sysfs.root).temperature_c == 60
    sysfs.write("class/thermal/thermal_zone3/temp", "none\n")
    assert read_chip(sysfs.root).temperature_c == 50
    sysfs.write("class/thermal/thermal_zone2/temp", "999000\n")  # not plausible
    assert read_chip(sysfs.root).temperature_c == 20


def test_missing_files_give_an_empty_status(sysfs: FakeSysfs) -> None:
    assert read_chip(sysfs.root) == ChipStatus()
    assert read_chip(Path("\0")) == ChipStatus()


@given(damage=st.binary(max_size=80))
def test_damaged_files_never_raise(tmp_path_factory: pytest.TempPathFactory, damage: bytes) -> None:
    sysfs = FakeSysfs(tmp_path_factory.mktemp("damaged"))
    sysfs.set_temperature(50)
    sysfs.set_throttled(0)
    sysfs.set_voltage_alarm(False)
    for path in (path for path in sysfs.root.rglob("*") if path.is_file()):
        path.write_bytes(damage)
    status = read_chip(sysfs.root)
    assert set(status.throttled) | set(status.throttled_before) <= set(FLAGS)
    assert status.temperature_c is None or -50 <= status.temperature_c <= 150


def test_folders_instead_of_files_never_raise(sysfs: FakeSysfs) -> None:
    for name in ("class/thermal/thermal_zone0/temp", "class/thermal/thermal_zonex", "class/hwmon/hwmon0/name"):
        (sysfs.root / name).mkdir(parents=True)
    (sysfs.root / "devices/platform/soc/soc:firmware/get_throttled").mkdir(parents=True)
    assert read_chip(sysfs.root) == ChipStatus()


@given(bits=st.integers(0, 2**32 - 1), form=st.sampled_from(["{:x}", "{:X}\n", "0x{:x}\n", "throttled=0x{:x}"]))
def test_flags_are_read_in_every_form(bits: int, form: str) -> None:
    assert parse_throttled(form.format(bits)) == bits
    assert sum(1 << FLAGS.index(name) for name in named_flags(bits)) == bits & 0xF


@given(text=st.text(max_size=12))
def test_invalid_text_is_refused(text: str) -> None:
    bits = parse_throttled(text)
    assert bits is None or 0 <= bits < 2**32
    degrees = parse_temperature(text)
    assert degrees is None or -50 <= degrees <= 150


@given(thousandths=st.integers(-(10**9), 10**9))
def test_temperatures_are_read(thousandths: int) -> None:
    degrees = parse_temperature(f"{thousandths}\n")
    assert degrees == (thousandths / 1000 if -50_000 <= thousandths <= 150_000 else None)


# The format of mailbox messages; `make test-v4l2` tests real devices.


@given(bits=st.integers(0, 2**32 - 1))
def test_responses_of_the_firmware_are_parsed(bits: int) -> None:
    request = struct.unpack("=7I", THROTTLED_REQUEST)
    assert request == (28, 0, 0x30046, 4, 0, 0, 0)
    assert throttled_answer(struct.pack("=7I", 28, 0x80000000, 0x30046, 4, 0x80000004, bits, 0)) == bits


@given(message=st.binary(max_size=64))
def test_invalid_responses_give_none(message: bytes) -> None:
    assert throttled_answer(message) is None
    assert throttled_answer(THROTTLED_REQUEST) is None
    assert gencmd_answer(message) is None
    assert gencmd_answer(GENCMD_REQUEST) is None


def text_answer(text: bytes, code: int = 0x80000000, error: int = 0) -> bytes:
    return struct.pack("=6I", 1052, code, 0x30080, 1024, 0x80000000 | len(text), error) + text.ljust(1028, b"\0")


@given(bits=st.integers(0, 2**32 - 1))
def test_text_responses_are_parsed(bits: int) -> None:
    request = GENCMD_REQUEST
    assert struct.unpack("=6I", request[:24]) == (1052, 0, 0x30080, 1024, 0, 0)
    assert request[24:] == b"get_throttled".ljust(1028, b"\0")
    assert gencmd_answer(text_answer(f"throttled=0x{bits:x}".encode())) == bits
    assert gencmd_answer(text_answer(f"throttled=0x{bits:x}\n\0rubbish".encode())) == bits


@given(text=st.binary(max_size=1024) | st.sampled_from([b"", b"throttled=", b"throttled=0x", b"throttled=0x123456789"]))
def test_other_text_responses_give_none(text: bytes) -> None:
    assert gencmd_answer(text_answer(text)) is None


def test_responses_with_an_error_give_none() -> None:
    assert gencmd_answer(text_answer(b'error=1 error_msg="Command not registered"')) is None
    assert gencmd_answer(text_answer(b"throttled=0x0", error=1)) is None
    assert gencmd_answer(text_answer(b"throttled=0x0", code=0x80000001)) is None


@pytest.mark.parametrize("name", ["vcio_gencmd", "vcio"])
def test_other_files_give_none(tmp_path: Path, name: str) -> None:
    assert query_throttled(tmp_path) is None
    (tmp_path / name).write_bytes(bytes(64))
    assert query_throttled(tmp_path) is None
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/null")
    assert query_throttled(tmp_path) is None
    assert read_chip(tmp_path, tmp_path) == ChipStatus()


# The share of the budget


@pytest.mark.parametrize(("celsius", "share"), [(20, 1), (70, 1), (75, 0.55), (80, 0.1), (95, 0.1), (None, 1)])
def test_the_share_falls_linearly(celsius: float | None, share: float) -> None:
    assert next_share(1.0, celsius, (), SETTINGS) == pytest.approx(share)


@given(before=SHARES, celsius=DEGREES, flags=SOME_FLAGS)
def test_the_share_is_always_within_its_limits(before: float, celsius: float | None, flags: set[str]) -> None:
    share = next_share(before, celsius, flags, SETTINGS)
    assert SETTINGS.min_budget_share <= share <= 1
    assert share <= max(before, SETTINGS.min_budget_share) + MAX_RISE + 1e-3
    assert share <= next_share(1.0, celsius, (), SETTINGS)
    if celsius is not None:  # the share never rises with temperature or flags
        assert next_share(before, celsius + 1, flags, SETTINGS) <= share
    assert share <= next_share(before, celsius, (), SETTINGS)


@given(celsius=st.floats(0, 100), wobble=st.lists(st.floats(-HYSTERESIS_C / 2, HYSTERESIS_C / 2), min_size=1))
def test_small_fluctuations_do_not_change_the_share(celsius: float, wobble: list[float]) -> None:
    share = next_share(1.0, celsius + HYSTERESIS_C / 2, (), SETTINGS)
    for change in wobble:
        assert next_share(share, celsius + change, (), SETTINGS) == share


def test_the_share_rises_slowly_back_to_1() -> None:
    share, looks = SETTINGS.min_budget_share, 0
    while share < 1:
        after = next_share(share, SETTINGS.warm_c - HYSTERESIS_C - 0.1, (), SETTINGS)
        assert share < after <= share + MAX_RISE + 1e-9
        share, looks = after, looks + 1
    assert looks == 9


@pytest.mark.parametrize(
    ("flag", "share"),
    [("throttled", 0.1), ("frequency capped", 0.1), ("under-voltage", 0.55), ("soft temperature limit", 0.55)],
)
def test_flags_limit_the_share_at_any_temperature(flag: str, share: float) -> None:
    assert next_share(1.0, 40.0, [flag], SETTINGS) == pytest.approx(share)
    assert next_share(1.0, None, [flag], SETTINGS) == pytest.approx(share)


# Periodic readings


def monitor_for(sysfs: FakeSysfs, board: StatusBoard, every_s: float = 5.0) -> ChipMonitor:
    return ChipMonitor(structs.replace(SETTINGS, sysfs=str(sysfs.root), poll_interval_s=every_s), board.set_chip)


def test_lowering_and_restoring_are_each_logged_once(sysfs: FakeSysfs, capsys: pytest.CaptureFixture[str]) -> None:
    board = StatusBoard()
    sysfs.set_temperature(60)
    monitor = monitor_for(sysfs, board)
    assert monitor.poll(0.0).budget_share == 1
    sysfs.set_temperature(75)
    assert monitor.poll(4.9).budget_share == 1  # not due yet
    assert monitor.poll(5.0).budget_share == pytest.approx(0.55)
    assert board.snapshot().chip == monitor.poll(5.1)
    sysfs.set_temperature(79)
    sysfs.set_throttled(0x4)
    monitor.poll(10)
    sysfs.set_temperature(50)
    sysfs.set_throttled(0)
    shares = [monitor.poll(15.0 + 5 * look).budget_share for look in range(12)]
    assert shares == sorted(shares) and shares[-1] == 1
    assert board.snapshot().chip == ChipStatus(50, (), ("throttled",))
    assert capsys.readouterr().err.splitlines() == [
        "fer-edge: the chip is at 75.0 °C: search budget lowered, currently to 55%",
        "fer-edge: the chip is at 50.0 °C: search budget restored",
    ]


def test_it_can_be_disabled(sysfs: FakeSysfs) -> None:
    sysfs.set_temperature(99)
    assert monitor_for(sysfs, StatusBoard(), every_s=0).poll(1e9) == ChipStatus()


def test_nothing_is_logged_without_data(sysfs: FakeSysfs, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = monitor_for(sysfs, StatusBoard())
    assert [monitor.poll(5.0 * look) for look in range(3)] == [ChipStatus()] * 3
    assert capsys.readouterr().err == ""


# The pipeline


class CostlyDetector:
    """The Haar detector with a simulated clock, on which every search takes ``SEARCH_S``."""

    SEARCH_S = 0.005

    def __init__(self) -> None:
        self.searches = 0
        self._detector = make_detector(DetectorSettings())

    def thread_time(self) -> float:
        return self.searches * self.SEARCH_S

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        self.searches += 1
        return self._detector.detect(gray, search)


def searches(monkeypatch: pytest.MonkeyPatch, *, live: bool, share: float) -> tuple[int, list[FrameResult]]:
    """Run three seconds of a scene with a moving face; return the number of searches and the results."""
    settings = RuntimeSettings(schedule=ScheduleSettings(budget_share=0.2))
    detector = CostlyDetector()
    monkeypatch.setattr(time, "thread_time", detector.thread_time)
    with EmotionClassifier.from_settings(load_bundle(), settings.model, None) as classifier:
        pipeline = Pipeline(detector, classifier, settings)
        pipeline.budget_share = share
        run = pipeline.open(live=live)
        results = [run.process(frame) for frame, _ in demo_frames(2.0, 5.0)]
    return detector.searches, results


def test_a_lowered_budget_means_fewer_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, results = searches(monkeypatch, live=True, share=1.0)
    least, lowered = searches(monkeypatch, live=True, share=0.1)
    assert 0 < least < whole / 2
    assert len(results) == len(lowered)  # every frame is still processed
    assert any(result.tracks for result in lowered)


def test_the_budget_of_files_is_not_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, results = searches(monkeypatch, live=False, share=1.0)
    least, same = searches(monkeypatch, live=False, share=0.2)
    assert whole == least
    assert [result.tracks for result in results] == [result.tracks for result in same]


# The running program


def start_demo(folder: Path, sysfs: FakeSysfs) -> subprocess.Popen[str]:
    """Start five seconds of the demo scene, paced like a camera, with ``sysfs`` as /sys."""
    folder.mkdir()
    settings = {
        "FER_EDGE_CHIP_SYSFS": str(sysfs.root),
        "FER_EDGE_CHIP_POLL_INTERVAL_S": "0.2",
        "FER_EDGE_CHIP_MIN_BUDGET_SHARE": "0.02",
    }
    return subprocess.Popen(
        command_line("run", "demo", "--realtime", "--duration", 5, "--stats", "stats.json"),
        cwd=folder,
        env={**clean_environment(), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def searches_per_frame(folder: Path) -> float:
    """Return the searches per processed frame from ``--stats``."""
    stats = json.loads((folder / "stats.json").read_text())
    stages = stats["stages"]
    return float(sum(stages[name]["calls"] for name in stages if name.startswith("detect_")) / stats["frames"])


@pytest.mark.slow
def test_the_running_program_logs_the_heat_and_searches_less(tmp_path: Path) -> None:
    cool, hot = FakeSysfs(tmp_path / "cool"), FakeSysfs(tmp_path / "hot")
    for sysfs in (cool, hot):
        sysfs.set_temperature(45)
    runs = [start_demo(tmp_path / f"run-{sysfs.root.name}", sysfs) for sysfs in (cool, hot)]
    assert runs[1].stdout is not None
    assert "appeared" in runs[1].stdout.readline()  # it is running, and still cool
    hot.set_temperature(79)
    hot.set_throttled(0x8)
    (_, cool_errors), (_, hot_errors) = (process.communicate(timeout=120) for process in runs)
    assert [process.returncode for process in runs] == [0, 0]
    assert cool_errors == ""
    assert hot_errors.startswith("fer-edge: the chip is at 79.0 °C") and hot_errors.count("\n") == 1
    assert searches_per_frame(tmp_path / "run-hot") < 0.8 * searches_per_frame(tmp_path / "run-cool")


def test_a_file_run_logs_no_lowered_budget(tmp_path: Path) -> None:
    hot = FakeSysfs(tmp_path / "sys")
    hot.set_temperature(90)
    settings = {"FER_EDGE_CHIP_SYSFS": str(hot.root)}
    result = fer_edge("run", "demo", "--max-frames", 5, cwd=tmp_path, settings=settings)
    assert (result.returncode, result.stderr) == (0, "")
