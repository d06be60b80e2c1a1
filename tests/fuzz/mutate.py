"""Change bytes at random, as fuzzers without coverage do."""

from __future__ import annotations

import random
from collections.abc import Sequence

_INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_TEXT = [
    b"\0",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b"-1",
    b"1e999",
    b"nan",
    b"\xff",
    b"%s",
    b"../",
]


def mutate(chance: random.Random, seeds: Sequence[bytes], max_bytes: int) -> bytes:
    """Return one of ``seeds`` with one to eight changes, at most ``max_bytes`` long."""
    data = bytearray(chance.choice(seeds))
    for _ in range(1 << chance.randrange(4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(8):
            case 0:
                data[at:at] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + 1 + chance.randrange(16)]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3:
                width = chance.choice((1, 2, 4, 8))
                value = chance.choice(_INTERESTING) % (1 << (8 * width))
                data[at : at + width] = value.to_bytes(width, chance.choice(("little", "big")))
            case 4:
                data[at:at] = chance.choice(_TEXT)
            case 5:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randrange(64)]
            case 6:
                other = chance.choice(seeds)
                start = chance.randrange(len(other) + 1)
                data[at:] = other[start:]
            case _:
                del data[at:]
    return bytes(data[:max_bytes])
