"""Hash passwords with sha512-crypt, ``$6$…``, as in /etc/shadow.

See "Unix crypt using SHA-256 and SHA-512", U. Drepper (https://www.akkadia.org/drepper/SHA-crypt.txt); the tests use
its test vectors. Python has had no ``crypt`` since 3.13, and on macOS and Windows it never supported this format.
Hashing on the host keeps the password off the card.
"""

from __future__ import annotations

import hashlib
import re
import secrets

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS = 100_000
"""Twenty times the default, because a card can be stolen before its first boot. One login takes about half a second on
a Pi Zero 2 W (calculated, not measured)."""

_SALT_CHARACTERS = 16  # maximum of the format: 96 bits
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 999_999_999
_HASH = re.compile(
    r"\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"  # yescrypt, Debian's default; crypt(5)
    r"|\$6\$(rounds=[0-9]{4,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
)


def is_password_hash(text: str) -> bool:
    """Return whether ``text`` is a strong hash that Raspberry Pi OS supports: sha512-crypt or yescrypt."""
    return _HASH.fullmatch(text) is not None


def sha512_crypt(password: str, salt: str | None = None, rounds: int | None = ROUNDS) -> str:
    """Return the hash of ``password`` as in /etc/shadow.

    Args:
        password: the password.
        salt: characters of ``ALPHABET``; random by default.
        rounds: None uses the format's default, 5000, and leaves the number out of the hash.

    Raises:
        ValueError: if ``salt`` is empty or has other characters.
    """
    if salt is None:
        salt = "".join(secrets.choice(ALPHABET) for _ in range(_SALT_CHARACTERS))
    if not salt or set(salt) - set(ALPHABET):
        raise ValueError("a salt may only contain letters, digits, . and /")
    salt = salt[:_SALT_CHARACTERS]
    turns = 5000 if rounds is None else min(max(rounds, _MIN_ROUNDS), _MAX_ROUNDS)
    digest = _stretched(password.encode("utf-8"), salt.encode("ascii"), turns)
    stated = "" if rounds is None else f"rounds={turns}$"
    return f"$6${stated}{salt}${_encoded(digest)}"


def _stretched(key: bytes, salt: bytes, rounds: int) -> bytes:
    """Steps 1 to 21 of the specification."""
    length = len(key)
    alternate = hashlib.sha512(key + salt + key).digest()
    first = hashlib.sha512(key + salt + _repeated(alternate, length))
    bits = length
    while bits:
        first.update(alternate if bits & 1 else key)
        bits >>= 1
    digest = first.digest()
    p = _repeated(hashlib.sha512(key * length).digest(), length)
    s = _repeated(hashlib.sha512(salt * (16 + digest[0])).digest(), len(salt))
    for turn in range(rounds):
        odd = turn & 1
        block = (p if odd else digest) + (s if turn % 3 else b"") + (p if turn % 7 else b"") + (digest if odd else p)
        digest = hashlib.sha512(block).digest()
    return digest


def _repeated(block: bytes, length: int) -> bytes:
    return (block * (length // len(block) + 1))[:length]


def _encoded(digest: bytes) -> str:
    """Step 22: encode three bytes at a time, in the specified order, as four characters, least significant first."""
    text = ""
    a, b, c = 0, 21, 42
    for _ in range(21):
        text += _characters(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
        a, b, c = b + 1, c + 1, a + 1
    return text + _characters(digest[63], 2)


def _characters(value: int, count: int) -> str:
    return "".join(ALPHABET[value >> 6 * place & 63] for place in range(count))
