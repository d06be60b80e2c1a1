"""The default name of a device: unique, stable, and without the serial number itself."""

from __future__ import annotations

import socket
from pathlib import Path

from fer_edge.system.device_name import device_name

PI, MACHINE = "sys/firmware/devicetree/base/serial-number", "etc/machine-id"


def with_files(folder: Path, **files: str) -> Path:
    for name, text in {PI: files.get("pi"), MACHINE: files.get("machine")}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def test_two_pis_with_one_host_name_differ_even_with_cloned_cards(tmp_path: Path) -> None:
    one, two = (
        device_name(with_files(tmp_path / serial, pi=f"{serial}\0", machine="c0ffee\n"))
        for serial in ("10000000a1b2c3d4", "10000000a1b2c3d5")
    )
    assert one != two
    assert one == device_name(tmp_path / "10000000a1b2c3d4")
    for name in (one, two):
        assert name.startswith(f"{socket.gethostname()}-")
        assert "a1b2c3" not in name and "c0ffee" not in name


def test_other_computers_are_told_by_their_machine_id(tmp_path: Path) -> None:
    names = {device_name(with_files(tmp_path / text, machine=f"{text}\n")) for text in ("c0ffee", "beef")}
    assert len(names) == 2


def test_without_a_serial_number_it_is_the_host_name(tmp_path: Path) -> None:
    assert device_name(with_files(tmp_path / "a")) == socket.gethostname()
    # As in an image that was never booted.
    assert device_name(with_files(tmp_path / "b", pi="0000000000000000\0", machine="uninitialized\n")) == (
        socket.gethostname()
    )
