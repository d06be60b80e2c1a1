"""The machine's state, read from folders with the files of a Pi and a PC, and from a program named `vcgencmd`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.latency.machine import ProcessorWatch, ThisMachine, ThrottleWatch, decode_throttled, read_machine_state
from fer_bench.results import CpuFrequency, Temperature
from support.devices.machines import write_tree, write_vcgencmd

PI = {
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1800000\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon0/temp1_input": "61835\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "62322\n",
    "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
}
CONDITIONS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def test_a_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vcgencmd(tmp_path / "bin", "throttled=0x50005", monkeypatch)
    state = read_machine_state(ThisMachine(write_tree(tmp_path / "root", PI)))
    assert state.frequencies == (CpuFrequency("policy0", "ondemand", 600.0, 1800.0),)
    assert state.temperatures == (
        Temperature("cpu_thermal temp1", 61.835),
        Temperature("thermal_zone0 cpu-thermal", 62.322),
    )
    assert state.load_average == (0.52, 0.58, 0.59)
    assert state.throttled is not None
    assert state.throttled.raw == "0x50005"
    assert state.throttled.now == state.throttled.since_boot == ("under-voltage", "throttled")
    assert state.throttle_count is None


def test_a_pc_with_many_clocks_and_labelled_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cpu = "sys/devices/system/cpu"
    files = {f"{cpu}/cpufreq/policy{i}/scaling_cur_freq": f"{800000 + i}\n" for i in (10, 2, 0)}
    files |= {f"{cpu}/cpu{i}/thermal_throttle/core_throttle_count": f"{i + 3}\n" for i in range(2)}
    files |= {
        "sys/class/hwmon/hwmon1/name": "coretemp\n",
        "sys/class/hwmon/hwmon1/temp2_input": "-5000\n",
        "sys/class/hwmon/hwmon1/temp2_label": "Core 0\n",
    }
    state = read_machine_state(ThisMachine(write_tree(tmp_path / "root", files)))
    assert [found.name for found in state.frequencies] == ["policy0", "policy2", "policy10"]
    assert state.frequencies[1] == CpuFrequency("policy2", None, 800.002, None)
    assert state.temperatures == (Temperature("coretemp Core 0", -5.0),)
    assert (state.throttled, state.throttle_count, state.load_average) == (None, 7, None)


def test_what_is_absent_damaged_or_asleep_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    empty = read_machine_state(ThisMachine(tmp_path / "nothing"))
    assert (empty.frequencies, empty.temperatures) == ((), ())
    assert (empty.throttled, empty.throttle_count, empty.load_average) == (None, None, None)

    root = write_tree(tmp_path / "root", dict.fromkeys(PI, "\xff what\n"))
    (root / "sys/class/thermal/thermal_zone1/temp").mkdir(parents=True)  # reading it is an error, as of a sensor asleep
    state = read_machine_state(ThisMachine(root))
    assert (state.temperatures, state.load_average) == ((), None)
    assert [(found.current_mhz, found.max_mhz) for found in state.frequencies] == [(None, None)]


@pytest.mark.parametrize(
    "script", ["echo 'VCHI initialization failed'; exit 255", "echo throttled=0x5; exit 1", "exit 0", "echo error=1"]
)
def test_a_vcgencmd_that_cannot_tell_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    write_vcgencmd(tmp_path / "bin", "", monkeypatch, script=script)
    assert read_machine_state(ThisMachine(tmp_path)).throttled is None


@given(
    now=st.sets(st.sampled_from(CONDITIONS)), since=st.sets(st.sampled_from(CONDITIONS)), other=st.integers(0, 0xFFF)
)
def test_every_flag_is_read_and_no_other_bit_matters(now: set[str], since: set[str], other: int) -> None:
    bits = sum(1 << CONDITIONS.index(name) for name in now) | sum(1 << 16 + CONDITIONS.index(name) for name in since)
    bits |= other << 4 | (other & 0xFF) << 20  # bits that mean nothing yet
    flags = decode_throttled(f"throttled={bits:#x}\n")
    assert flags is not None
    assert int(flags.raw, 16) == bits
    assert (set(flags.now), set(flags.since_boot)) == (now, since)


@given(st.text() | st.from_regex(r"throttled=0x[0-9a-fA-F]*.?", fullmatch=True))
def test_any_other_answer_is_none_and_no_error(answer: str) -> None:
    flags = decode_throttled(answer)
    if flags is not None:
        assert int(answer.strip().removeprefix("throttled="), 16) == int(flags.raw, 16)


def test_the_watch_tells_what_holds_now_and_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = write_vcgencmd(tmp_path / "bin", "throttled=0x50000", monkeypatch)
    watch = ThrottleWatch(ThisMachine(tmp_path))
    assert watch.throttled() is False  # it was so before, once
    answer.write_text("throttled=0x50002")
    assert watch.throttled() is True  # now
    answer.write_text("throttled=0x70000")
    assert watch.throttled() is True  # came and went
    assert watch.throttled() is False


def test_the_watch_counts_what_an_x86_kernel_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ThrottleWatch(ThisMachine(tmp_path)).throttled() is None
    name = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    watch = ThrottleWatch(ThisMachine(write_tree(tmp_path, {name: "12"})))
    assert watch.throttled() is False
    write_tree(tmp_path, {name: "13"})
    assert watch.throttled() is True
    assert watch.throttled() is False


def test_processor_time_of_others_is_measured(tmp_path: Path) -> None:
    """Of 1,000 ticks of all cores, other processes used 200, and a hypervisor took 100."""
    write_tree(tmp_path, {"proc/stat": "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n"})
    watch = ProcessorWatch(ThisMachine(tmp_path))
    write_tree(tmp_path, {"proc/stat": "cpu  200 50 150 1480 20 0 0 100 0 0\n"})
    # This process itself used almost no time.
    assert watch.others_share() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e f g h\n", "intr 1 2 3 4 5 6 7 8\n"])
def test_without_processor_times_nothing_is_claimed(tmp_path: Path, text: str) -> None:
    write_tree(tmp_path, {"proc/stat": text})
    assert ProcessorWatch(ThisMachine(tmp_path)).others_share() is None


def test_an_ended_child_process_counts_as_own_work(tmp_path: Path) -> None:
    write_tree(tmp_path, {"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n"})
    watch = ProcessorWatch(ThisMachine(tmp_path))
    write_tree(tmp_path, {"proc/stat": "cpu  200 0 0 800 0 0 0 0 0 0\n"})  # 2 s of 10 s were used
    assert watch.others_share() == pytest.approx(0.2, abs=0.02)
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 1: pass"], check=True)
    assert watch.others_share() == pytest.approx(0.1, abs=0.02)
