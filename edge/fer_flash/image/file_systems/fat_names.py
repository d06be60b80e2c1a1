"""Directory entries of FAT: long names, their short names, and the lower-case flags of Windows.

See Microsoft's "FAT32 File System Specification" (fatgen103), "Name Limits and Character Sets" and the sections after
it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from fer_edge.errors import ConfigError, InputError

ENTRY = 32
"""Bytes per entry."""
FREE, END = 0xE5, 0x00
"""First byte of a free entry, and of the entry after the last one."""
FOLDER, ARCHIVE = 0x10, 0x20

_LABEL, _LONG = 0x08, 0x0F
_LAST_LONG, _UNITS_EACH, _MAX_UNITS = 0x40, 13, 255
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10  # in the reserved byte 12, as written by Windows NT and mtools
_FORBIDDEN = '"*/:<>?\\|'
_SHORT_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'()-@^_`{}~"
_KANJI_E5 = 0x05  # replaces a first byte of 0xE5 in a short name
_MIN_S = 315532800  # 1980-01-01, the first day that FAT can represent
_MAX_S = 4354819199  # 2107-12-31, the last one
_DEFAULT_S = 946684800  # 2000-01-01: not today's date, so that equal inputs give equal images


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder; ``slot`` is the index of its entry with the short name."""

    name: str
    short: bytes
    attributes: int
    cluster: int
    """The first cluster; 0 for an empty file and for the root."""
    size: int
    slot: int

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return bool(self.attributes & FOLDER)


def upper(name: str) -> str:
    """Return ``name`` as FAT compares it: each character separately, so that ß does not become SS."""
    return "".join(up if len(up := character.upper()) == 1 else character for character in name)


def check_name(name: str, where: str) -> None:
    """Raise InputError for a name that FAT does not allow."""
    try:
        units = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        units = 0
    if not 0 < units <= _MAX_UNITS or name[-1] in ". " or any(each < " " or each in _FORBIDDEN for each in name):
        raise InputError(
            f"{where}: {name!r} is not a valid file name there; a name has 1 to {_MAX_UNITS} characters, none of "
            f"{_FORBIDDEN}, and no dot or space at its end"
        )


def parse(data: bytes) -> Iterator[Entry]:
    """Yield the files and folders in a folder's bytes, with "." and ".."; no volume label or deleted entries."""
    long: dict[int, bytes] = {}
    for slot in range(len(data) // ENTRY):
        raw = data[slot * ENTRY : (slot + 1) * ENTRY]
        if raw[0] == END:
            return
        if raw[0] == FREE:
            long = {}
        elif raw[11] & 0x3F == _LONG:
            if raw[0] & _LAST_LONG:
                long = {}
            # Stored with its checksum, which is compared with the short name's below.
            long[raw[0] & 0x3F] = raw[13:14] + raw[1:11] + raw[14:26] + raw[28:32]
        else:
            if not raw[11] & _LABEL:
                high, low, size = struct.unpack_from("<H4xHI", raw, 20)
                name = _long_name(long, raw[:11]) or short_name(raw[:11], raw[12])
                yield Entry(name, raw[:11], raw[11], high << 16 | low, size, slot)
            long = {}


def slots_for(name: str) -> int:
    """Return the maximum number of entries for a file of that name."""
    return 1 + -(-len(name.encode("utf-16-le")) // 2 // _UNITS_EACH)


def make(name: str, taken: Collection[bytes], attributes: int) -> list[bytes]:
    """Return the entries of a new, empty file or folder; the last one has the short name.

    ``taken`` are the short names in its folder.
    """
    short, is_exact = _make_short(name, taken)
    last = short_entry(short, attributes)
    if is_exact:
        return [last]
    units = name.encode("utf-16-le")
    if len(units) // 2 % _UNITS_EACH:
        units += b"\0\0"
    entries = []
    count = -(-len(units) // 2 // _UNITS_EACH)
    for number in range(count, 0, -1):
        part = units[(number - 1) * 2 * _UNITS_EACH :][: 2 * _UNITS_EACH].ljust(2 * _UNITS_EACH, b"\xff")
        order = number | (_LAST_LONG if number == count else 0)
        head = bytes([order]) + part[:10] + bytes([_LONG, 0, _checksum(short)])
        entries.append(head + part[10:22] + bytes(2) + part[22:])
    return [*entries, last]


def short_entry(short: bytes, attributes: int) -> bytes:
    """Return an entry with only a short name and no cluster."""
    time, date = _now()
    return struct.pack("<11sBBBHHHHHHHI", short, attributes, 0, 0, time, date, date, 0, time, date, 0, 0)


def changed(raw: bytes, *, cluster: int, size: int, attributes: int) -> bytes:
    """Return a short entry with another first cluster, size and modification date."""
    time, date = _now()
    head = raw[:11] + bytes([attributes]) + raw[12:18]
    return head + struct.pack("<HHHHHI", date, cluster >> 16, time, date, cluster & 0xFFFF, size)


def _now() -> tuple[int, int]:
    """Return time and date of written files as FAT stores them: in steps of two seconds, since 1980.

    They are SOURCE_DATE_EPOCH if that is set (reproducible-builds.org/specs/source-date-epoch), limited to what FAT can
    represent, otherwise 2000-01-01, so that equal inputs give equal images. Raises ConfigError if it is not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH") or str(_DEFAULT_S)
    try:
        moment = datetime.fromtimestamp(min(max(int(text), _MIN_S), _MAX_S), UTC)
    except ValueError:
        raise ConfigError(f"SOURCE_DATE_EPOCH={text}: not a number of seconds since 1970") from None
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return time, (moment.year - 1980) << 9 | moment.month << 5 | moment.day


def _long_name(parts: dict[int, bytes], short: bytes) -> str | None:
    """Return the long name if its parts are complete and belong to this short name."""
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        return None
    if any(part[0] != _checksum(short) for part in parts.values()):
        return None
    units = b"".join(parts[number][1:] for number in sorted(parts))
    text = units.decode("utf-16-le", errors="replace")
    return text.partition("\0")[0]


def short_name(short: bytes, flags: int = 0) -> str:
    """Return the 11 bytes of a short name as text; ``flags`` are those of Windows for lower case."""
    first = bytes([FREE]) if short[0] == _KANJI_E5 else short[:1]
    base, extension = (part.decode("cp437").rstrip(" ") for part in (first + short[1:8], short[8:]))
    if flags & _LOWER_BASE:
        base = base.lower()
    if flags & _LOWER_EXTENSION:
        extension = extension.lower()
    return f"{base}.{extension}" if extension else base


def _make_short(name: str, taken: Collection[bytes]) -> tuple[bytes, bool]:
    """Return an unused short name, and whether it represents ``name`` completely."""
    stem, dot, ending = name.lstrip(".").rpartition(".")
    base, extension = (stem, ending) if dot else (ending, "")
    base, extension = _short_characters(base), _short_characters(extension)
    plain = f"{base}.{extension}" if extension else base
    fits = len(base) <= 8 and len(extension) <= 3 and plain == upper(name)
    short = _padded(base, extension)
    if fits and short not in taken:
        return short, plain == name
    for number in range(1, 1_000_000):
        tail = f"~{number}"
        short = _padded(base[: 8 - len(tail)] + tail, extension)
        if short not in taken:
            return short, False
    raise InputError(f"{name!r}: too many files with similar names in one folder")


def _short_characters(text: str) -> str:
    squeezed = upper(text.replace(" ", "").replace(".", ""))
    return "".join(each if each in _SHORT_CHARACTERS else "_" for each in squeezed)


def _padded(base: str, extension: str) -> bytes:
    return (base[:8].ljust(8) + extension[:3].ljust(3)).encode("ascii")


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total >> 1) + ((total & 1) << 7) + byte) & 0xFF
    return total
