"""A fake /sys with the chip's temperature and throttling flags."""

from __future__ import annotations

from pathlib import Path

_FIRMWARE = Path("devices/platform/soc/soc:firmware")


class FakeSysfs:
    """Files below ``root`` as from a Raspberry Pi's kernel; a file exists once it is set."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set_temperature(self, celsius: float, zone: int = 0, kind: str = "cpu-thermal") -> None:
        """Set the temperature of a thermal zone."""
        self.write(f"class/thermal/thermal_zone{zone}/type", f"{kind}\n")
        self.write(f"class/thermal/thermal_zone{zone}/temp", f"{round(celsius * 1000)}\n")

    def set_throttled(self, bits: int) -> None:
        """Set the firmware's flags, as Raspberry Pi's kernel published them until 2025."""
        self.write(str(_FIRMWARE / "get_throttled"), f"{bits:x}\n")

    def set_voltage_alarm(self, alarm: bool, monitor: int = 1) -> None:
        """Set the alarm of the kernel's voltage monitor."""
        self.write(f"class/hwmon/hwmon{monitor}/name", "rpi_volt\n")
        self.write(f"class/hwmon/hwmon{monitor}/in0_lcrit_alarm", f"{int(alarm)}\n")

    def write(self, name: str, text: str) -> None:
        """Set any file, atomically, like the kernel."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.write_text(text)
        beside.replace(path)
