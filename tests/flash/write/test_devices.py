"""Devices that may be written as a card: recorded outputs of lsblk, damaged ones, and this machine's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_flash.write.devices import BlockDevice, parse_lsblk, refusal, sd_cards
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge

# As printed by lsblk of util-linux 2.38, but with several keys per line.
LAPTOP = """
{"blockdevices": [
  {"name":"loop0", "path":"/dev/loop0", "type":"loop", "size":67108864, "model":null, "tran":null,
   "rm":false, "ro":true, "mountpoints":["/snap/core22/1033"]},
  {"name":"zram0", "path":"/dev/zram0", "type":"disk", "size":8589934592, "model":null, "tran":null,
   "rm":false, "ro":false, "mountpoints":["[SWAP]"]},
  {"name":"nvme0n1", "path":"/dev/nvme0n1", "type":"disk", "size":512110190592,
   "model":"SAMSUNG MZVLB512HBJQ-000L7", "tran":"nvme", "rm":false, "ro":false, "mountpoints":[null], "children": [
     {"name":"nvme0n1p1", "path":"/dev/nvme0n1p1", "type":"part", "size":536870912, "model":null, "tran":"nvme",
      "rm":false, "ro":false, "mountpoints":["/boot/efi"]},
     {"name":"nvme0n1p2", "path":"/dev/nvme0n1p2", "type":"part", "size":511572221952, "model":null, "tran":"nvme",
      "rm":false, "ro":false, "mountpoints":[null], "children": [
        {"name":"nvme0n1p2_crypt", "path":"/dev/mapper/nvme0n1p2_crypt", "type":"crypt", "size":511555444736,
         "model":null, "tran":null, "rm":false, "ro":false, "mountpoints":[null], "children": [
           {"name":"vg-root", "path":"/dev/mapper/vg-root", "type":"lvm", "size":494400438272, "model":null,
            "tran":null, "rm":false, "ro":false, "mountpoints":["/var/lib/docker", "/"]},
           {"name":"vg-swap", "path":"/dev/mapper/vg-swap", "type":"lvm", "size":17154703360, "model":null,
            "tran":null, "rm":false, "ro":false, "mountpoints":["[SWAP]"]}
        ]}
     ]}
  ]}
]}"""
READER = """
{"blockdevices": [
  {"name":"sda", "path":"/dev/sda", "type":"disk", "size":31914983424, "model":"STORAGE DEVICE  ", "tran":"usb",
   "rm":true, "ro":false, "mountpoints":[null], "children": [
     {"name":"sda1", "path":"/dev/sda1", "type":"part", "size":536870912, "model":null, "tran":null,
      "rm":true, "ro":false, "mountpoints":[null]},
     {"name":"sda2", "path":"/dev/sda2", "type":"part", "size":31373918208, "model":null, "tran":null,
      "rm":true, "ro":false, "mountpoints":[null]}
  ]},
  {"name":"sdb", "path":"/dev/sdb", "type":"disk", "size":15931539456, "model":"SD Transcend", "tran":"usb",
   "rm":true, "ro":false, "mountpoints":[null], "children": [
     {"name":"sdb1", "path":"/dev/sdb1", "type":"part", "size":15927345152, "model":null, "tran":null,
      "rm":true, "ro":false, "mountpoints":["/media/ada/PHOTOS"]}
  ]},
  {"name":"sdc", "path":"/dev/sdc", "type":"disk", "size":0, "model":"MS/MS-Pro", "tran":"usb",
   "rm":true, "ro":false, "mountpoints":[null]},
  {"name":"sdd", "path":"/dev/sdd", "type":"disk", "size":15931539456, "model":"Locked", "tran":"usb",
   "rm":true, "ro":true, "mountpoints":[null]},
  {"name":"sde", "path":"/dev/sde", "type":"disk", "size":64023257088, "model":"Ultra Fit", "tran":"usb",
   "rm":true, "ro":false, "mountpoints":[null], "children": [
     {"name":"luks-1f", "path":"/dev/mapper/luks-1f", "type":"crypt", "size":64006479872, "model":null, "tran":null,
      "rm":false, "ro":false, "mountpoints":[null]}
  ]},
  {"name":"sdf", "path":"/dev/sdf", "type":"disk", "size":1000204886016, "model":"WDC WD10EZEX", "tran":"sata",
   "rm":false, "ro":false, "mountpoints":[null]},
  {"name":"sr0", "path":"/dev/sr0", "type":"rom", "size":1073741312, "model":"DVDRAM", "tran":"sata",
   "rm":true, "ro":false, "mountpoints":[null]}
]}"""
EMMC_AND_CARD = """
{"blockdevices": [
  {"name":"mmcblk0", "path":"/dev/mmcblk0", "type":"disk", "size":31268536320, "model":null, "tran":null,
   "rm":false, "ro":false, "mountpoints":[null], "children": [
     {"name":"mmcblk0p1", "path":"/dev/mmcblk0p1", "type":"part", "size":536870912, "model":null, "tran":null,
      "rm":false, "ro":false, "mountpoints":["/boot/firmware"]},
     {"name":"mmcblk0p2", "path":"/dev/mmcblk0p2", "type":"part", "size":30727471104, "model":null, "tran":null,
      "rm":false, "ro":false, "mountpoints":["/"]}
  ]},
  {"name":"mmcblk0boot0", "path":"/dev/mmcblk0boot0", "type":"disk", "size":4194304, "model":null, "tran":"mmc",
   "rm":false, "ro":true, "mountpoints":[null]},
  {"name":"mmcblk0boot1", "path":"/dev/mmcblk0boot1", "type":"disk", "size":4194304, "model":null, "tran":"mmc",
   "rm":false, "ro":false, "mountpoints":[null]},
  {"name":"mmcblk1", "path":"/dev/mmcblk1", "type":"disk", "size":15931539456, "model":null, "tran":null,
   "rm":false, "ro":false, "mountpoints":[null]}
]}"""
RECORDED = [LAPTOP, READER, EMMC_AND_CARD]


def by_name(text: str) -> dict[str, BlockDevice]:
    return {device.name: device for device in parse_lsblk(text)}


def offered(text: str) -> list[str]:
    return [device.name for device in parse_lsblk(text) if refusal(device) is None]


def test_a_laptop_offers_nothing_and_its_system_disk_is_known_through_encryption_and_volumes() -> None:
    devices = by_name(LAPTOP)
    assert offered(LAPTOP) == []
    disk = devices["nvme0n1"]
    assert (disk.bus, disk.size, disk.model) == ("nvme", 512110190592, "SAMSUNG MZVLB512HBJQ-000L7")
    assert disk.mounted == ("/boot/efi", "/var/lib/docker", "/", "[SWAP]")
    assert refusal(disk) == "holds the running system (/boot/efi, /, [SWAP])"
    assert [name for name, device in devices.items() if device.is_disk] == ["nvme0n1"]


def test_only_the_card_that_nothing_uses_is_offered() -> None:
    devices = by_name(READER)
    assert offered(READER) == ["sda"]
    assert devices["sda"].model == "STORAGE DEVICE"
    assert {name: refusal(devices[name]) for name in ("sda1", "sdb", "sdc", "sdd", "sde", "sdf", "sr0")} == {
        "sda1": "not a whole disk (type part)",
        "sdb": "mounted at /media/ada/PHOTOS; unmount it first",
        "sdc": "no card in the reader",
        "sdd": "read-only; check the lock switch on the side of the card",
        "sde": "in use by luks-1f",
        "sdf": "not removable: a fixed or an external disk, not a card",
        "sr0": "not a whole disk (type rom)",
    }


def test_an_external_disk_is_no_card_however_it_is_connected() -> None:
    disk = {**node("sdx"), "tran": "usb", "rm": False, "size": 4 * 10**12}
    (device,) = parse_lsblk(json.dumps({"blockdevices": [disk]}))
    assert refusal(device) == "not removable: a fixed or an external disk, not a card"
    assert refusal(device, even_if_fixed=True) is None


def test_the_card_slot_is_told_from_the_soldered_memory_beside_it(tmp_path: Path) -> None:
    for name, kind in {"mmcblk0": "MMC", "mmcblk1": "SD", "sda": "0"}.items():
        folder = tmp_path / "block" / name / "device"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
    (tmp_path / "block" / "mmcblk2").mkdir()  # removed since then
    cards = sd_cards(tmp_path)
    assert cards == {"mmcblk1"}
    devices = {device.name: device for device in parse_lsblk(EMMC_AND_CARD, cards)}
    assert [name for name, device in devices.items() if refusal(device) is None] == ["mmcblk1"]
    assert devices["mmcblk1"].removable
    assert devices["mmcblk1"].bus == "mmc"
    assert refusal(devices["mmcblk0"]) == "holds the running system (/boot/firmware, /)"
    assert [refusal(devices[f"mmcblk0boot{area}"]) for area in (0, 1)] == ["not a whole disk"] * 2


def test_naming_a_disk_twice_lifts_that_it_is_fixed_and_nothing_else() -> None:
    devices = {**by_name(LAPTOP), **by_name(READER), **by_name(EMMC_AND_CARD)}
    before = {name: refusal(device) for name, device in devices.items()}
    lifted = {
        name for name in devices if before[name] is not None and refusal(devices[name], even_if_fixed=True) is None
    }
    assert "sdf" in lifted
    for device in map(devices.__getitem__, lifted):
        assert before[device.name] == "not removable: a fixed or an external disk, not a card" or device.stands_for_disk
        assert not device.mounted and not device.holders and not device.read_only and device.size
    image = parse_lsblk(json.dumps({"blockdevices": [{**node("loop3"), "type": "loop"}]}))[0]
    assert refusal(image) == "not a whole disk (type loop)"
    assert refusal(image, even_if_fixed=True) is None
    part = parse_lsblk(json.dumps({"blockdevices": [{**node("loop3p1"), "type": "part"}]}))[0]
    assert refusal(part, even_if_fixed=True) == "not a whole disk (type part)"


def test_what_spans_two_disks_is_told_of_once_and_keeps_both() -> None:
    array = {**node("md0"), "type": "raid1", "mountpoints": ["/srv"]}
    disks = [{**node(name), "tran": "usb", "rm": True, "children": [array]} for name in ("sda", "sdb")]
    text = json.dumps({"blockdevices": disks})
    assert [device.name for device in parse_lsblk(text)] == ["sda", "md0", "sdb"]
    assert offered(text) == []


def node(name: str) -> dict[str, Any]:
    return {
        **{"name": name, "path": f"/dev/{name}", "type": "disk", "size": 1 << 34, "model": None},
        **{"tran": None, "rm": False, "ro": False, "mountpoints": [None]},
    }


@pytest.mark.parametrize("missing", ["name", "path", "type", "size", "rm", "ro", "mountpoints"])
def test_a_missing_value_never_counts_as_harmless(missing: str) -> None:
    device = node("sda")
    del device[missing]
    with pytest.raises(InputError, match=missing):
        parse_lsblk(json.dumps({"blockdevices": [device]}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "lsblk: oops", '{"blockdevices": [1]}', "[" * 100_000, "9" * 5000])
def test_what_is_no_output_of_lsblk_is_one_clear_error(text: str) -> None:
    with pytest.raises(InputError, match="lsblk"):
        parse_lsblk(text)


def test_nesting_without_end_is_refused() -> None:
    device = node("sda")
    for _ in range(100):
        device = {**node("sda"), "children": [device]}
    with pytest.raises(InputError, match="nested"):
        parse_lsblk(json.dumps({"blockdevices": [device]}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Yield every container of a JSON document with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in [(value, key), *places(inner)]]


def parsed_or_refused(text: str) -> None:
    try:
        devices = parse_lsblk(text)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(refusal(device), str | None) for device in devices)


@given(st.sampled_from(RECORDED), st.data())
def test_a_changed_value_or_a_missing_one_is_parsed_or_refused(text: str, data: st.DataObject) -> None:
    document = json.loads(text)
    container, key = data.draw(st.sampled_from(places(document)))
    if data.draw(st.booleans()):
        del container[key]
    else:
        container[key] = data.draw(JSON_VALUES)
    parsed_or_refused(json.dumps(document))


@given(st.sampled_from(RECORDED), st.data())
def test_changed_characters_are_parsed_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    parsed_or_refused(text[:start] + data.draw(st.text(max_size=5)) + text[end:])


def with_lsblk(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``fer-edge flash list`` with ``script`` as the only lsblk, or without lsblk if that is empty."""
    if script:
        (folder / "lsblk").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "lsblk").chmod(0o755)
    return subprocess.run(
        command_line("flash", "list", *arguments),
        env={**clean_environment(), "PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def replay(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "recorded.json").write_text(text)
    return with_lsblk(folder, f"exec /bin/cat '{folder}/recorded.json'", *arguments)


linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="listing cards needs Linux")


@linux_only
def test_the_table_has_a_line_for_each_disk(tmp_path: Path) -> None:
    done = replay(tmp_path, READER.replace("Ultra Fit", r"Ultra\u001b[2J"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [f"/dev/sd{letter}" for letter in "abcdef"]
    assert lines[1].split() == ["/dev/sda", "31.9", "GB", "STORAGE", "DEVICE", "usb", "yes", "-", "yes"]
    assert lines[2].endswith("/media/ada/PHOTOS  no: mounted at /media/ada/PHOTOS; unmount it first")
    assert "\x1b" not in done.stdout, "a device's name may not drive the terminal"


@linux_only
@pytest.mark.parametrize("text", [LAPTOP, '{"blockdevices": []}', ""])
def test_no_card_is_said_and_is_no_error(tmp_path: Path, text: str) -> None:
    done = replay(tmp_path, text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("no card found")


@linux_only
def test_the_json_says_why_not(tmp_path: Path) -> None:
    done = replay(tmp_path, EMMC_AND_CARD, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    devices = json.loads(done.stdout)["devices"]
    assert [(device["device"], device["writable_target"], device["reason"]) for device in devices] == [
        ("/dev/mmcblk0", False, "holds the running system (/boot/firmware, /)"),
        (
            "/dev/mmcblk1",
            False,
            "not removable: a fixed or an external disk, not a card",
        ),  # not in sysfs
    ]


@linux_only
@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("", "install the package util-linux"),
        ("echo nonsense", "unexpected output"),
        ("echo 'lsblk: unknown column: MOUNTPOINTS' >&2; exit 1", "unknown column: MOUNTPOINTS"),
    ],
)
def test_an_lsblk_that_is_missing_or_speaks_otherwise_is_one_line(tmp_path: Path, script: str, part: str) -> None:
    assert_one_line(with_lsblk(tmp_path, script, "--json"), 2, "lsblk", part)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_it_says_so(platform: str) -> None:
    code = (
        "import sys; from fer_edge.commands.cli import main; import fer_flash.commands.list;"
        f"sys.platform = {platform!r}; sys.exit(main(['flash', 'list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_one_line(done, 2, "needs Linux", platform)


@linux_only
def test_this_machines_own_system_disk_is_never_offered(tmp_path: Path) -> None:
    done = fer_edge("flash", "list", "--json", cwd=tmp_path)
    if done.returncode != 0:  # a container may hide the devices
        assert_one_line(done, 2, "lsblk")
        pytest.skip(done.stderr.strip())
    devices = json.loads(done.stdout)["devices"]
    assert [device for device in devices if "/" in device["mounted"] and device["writable_target"]] == []
    root = subprocess.run(["findmnt", "-no", "SOURCE", "/"], capture_output=True, text=True, check=False)
    holding = [device["device"] for device in devices if root.stdout.startswith(device["device"])]
    assert [device for device in devices if device["device"] in holding and device["writable_target"]] == []


def test_help_loads_no_work() -> None:
    names = "{'fer_flash.write.devices', 'numpy'}"
    code = f"import sys; import fer_flash.commands; sys.exit(bool({names} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
