"""A TUF repository as a folder of static files: ``metadata/`` and ``targets/``.

Files are written in the order in which clients need them, and ``timestamp.json`` last, by an atomic rename: a client
that reads the folder at any moment sees either the old state or the new one, because the names of all other files
contain a version or a hash. While a key is rotated, a client may see the new root with the old timestamp; it refuses
them, and tries again at its next poll.

https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from fer_edge.errors import InputError, reason_of
from fer_edge.system.files import create_folder, read_regular, write_bytes_atomically
from fer_release.keys import create_key, load_keys

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

ROLES = ("root", "targets", "snapshot", "timestamp")
VALID_DAYS = {"root": 365, "targets": 180, "snapshot": 30, "timestamp": 7}
"""How long a signature of each role is valid. A device notices a frozen repository after the shortest of them."""
WARN_DAYS = {"root": 60, "targets": 30, "snapshot": 7, "timestamp": 2}
"""Days before the expiry from which ``release status`` warns: time enough to find an offline key."""
_MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Folder of the private keys, and the passphrase of those that are encrypted."""

    folder: Path
    passphrase: bytes | None = None


class Repository:
    """The repository in ``folder``, as of its latest metadata."""

    def __init__(self, folder: Path) -> None:
        """Read the metadata.

        Raises:
            InputError: If the folder is not a repository, or its metadata is damaged.
        """
        self.folder = folder
        self._metadata = folder / "metadata"
        version = _latest_root(self._metadata)
        if version == 0:
            raise InputError(f"{folder}: not a release repository; create one with `fer-edge release init {folder}`")
        self.root = self._read(Root, f"{version}.root.json")
        self.timestamp = self._read(Timestamp, "timestamp.json")
        self.snapshot = self._read(Snapshot, f"{self.timestamp.signed.snapshot_meta.version}.snapshot.json")
        targets = self.snapshot.signed.meta["targets.json"].version
        self.targets = self._read(Targets, f"{targets}.targets.json")

    @property
    def roles(self) -> dict[str, Signed]:
        """The signed content of the four roles by name."""
        return {
            "root": self.root.signed,
            "targets": self.targets.signed,
            "snapshot": self.snapshot.signed,
            "timestamp": self.timestamp.signed,
        }

    def read_target(self, name: str) -> bytes | None:
        """Return the content of the target ``name``, None if there is none. Raises InputError if it is damaged."""
        target = self.targets.signed.targets.get(name)
        if target is None:
            return None
        path = self._target_path(name, target)
        try:
            data = read_regular(path, target.length)
            target.verify_length_and_hashes(data)
        except (OSError, RepositoryError) as error:
            raise InputError(f"{path}: differs from the signed metadata: {reason_of(error)}") from None
        return data

    def publish(self, files: dict[str, bytes], custom: dict[str, dict[str, Any]], keys: KeyStore) -> None:
        """Add or replace targets, and sign targets, snapshot and timestamp.

        Args:
            files: Contents by target name.
            custom: Custom fields by target name; TUF's canonical JSON has no floats.
            keys: Must hold the keys of those three roles.

        Raises:
            InputError: If a key is missing.
            OutputError: If a file cannot be written.
        """
        signers = {role: self._signers(role, keys) for role in ("targets", "snapshot", "timestamp")}
        for name, data in files.items():
            target = TargetFile.from_data(name, data)
            if name in custom:
                target.unrecognized_fields["custom"] = custom[name]
            path = self._target_path(name, target)
            create_folder(path.parent)
            write_bytes_atomically(path, data)
            self.targets.signed.targets[name] = target
        self._renew(self.targets, signers["targets"])
        self._renew_online(signers)

    def refresh(self, keys: KeyStore) -> None:
        """Sign snapshot and timestamp again, which devices need to see that the repository is still served.

        Raises:
            InputError: If a key is missing.
            OutputError: If a file cannot be written.
        """
        self._renew_online({role: self._signers(role, keys) for role in ("snapshot", "timestamp")})

    def rotate_key(self, role: str, keys: KeyStore, key_id: str | None = None) -> str:
        """Replace a key of ``role`` by a new one, sign what it signed again, and return the new key's id.

        The old file of the key stays. A new root is signed by the old keys and the new ones, so that devices which
        trust the old root accept it.

        Args:
            role: Name of the role.
            keys: Must hold keys of root up to its threshold, and of the roles that are signed again.
            key_id: The start of the key's id; needed if the role has several keys.

        Raises:
            InputError: If a key is missing, or ``key_id`` does not name one key.
            OutputError: If a file cannot be written.
        """
        root = self.root.signed
        old = [known for known in root.roles[role].keyids if known.startswith(key_id or "")]
        if len(old) != 1:
            names = ", ".join(known[:12] for known in root.roles[role].keyids)
            raise InputError(f"{role}: --key must name one of its keys: {names}")
        signers = self._signers("root", keys)
        others = {name: self._signers(name, keys, without=old[0]) for name in _signed_again(role)}
        new = create_key(keys.folder, role, keys.passphrase)
        root.revoke_key(old[0], role)
        root.add_key(new.public_key, role)
        if role == "root":
            signers.append(new)
        else:
            others[role].append(new)
        self._renew(self.root, signers)
        if "targets" in others:
            self._renew(self.targets, others["targets"])
        if others:
            self._renew_online(others)
        return new.public_key.keyid

    def renew_root(self, keys: KeyStore) -> None:
        """Sign the root again before it expires. Raises InputError if a key is missing."""
        self._renew(self.root, self._signers("root", keys))

    def _renew_online(self, signers: dict[str, list[CryptoSigner]]) -> None:
        self.snapshot.signed.meta["targets.json"] = MetaFile(self.targets.signed.version)
        self._renew(self.snapshot, signers["snapshot"])
        self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        self._renew(self.timestamp, signers["timestamp"])

    def _signers(self, role: str, keys: KeyStore, *, without: str | None = None) -> list[CryptoSigner]:
        """Return the keys of ``role`` without the key ``without``, which a new one will replace."""
        entry = self.root.signed.roles[role]
        found = load_keys(keys.folder, role, [known for known in entry.keyids if known != without], keys.passphrase)
        needed = entry.threshold - (1 if without in entry.keyids else 0)
        if len(found) < needed:
            raise InputError(
                f"{keys.folder}: has {len(found)} of the {needed} keys of {role} that must sign; pass their folder"
                " with --keys"
            )
        return found

    def _renew(self, metadata: Metadata[Any], signers: Sequence[CryptoSigner]) -> None:
        metadata.signed.version += 1
        _sign_and_write(self._metadata, metadata, signers)

    def _target_path(self, name: str, target: TargetFile) -> Path:
        folder, _, base = name.rpartition("/")
        return self.folder / "targets" / folder / f"{target.hashes['sha256']}.{base}"

    def _read(self, kind: type[T], name: str) -> Metadata[T]:
        path = self._metadata / name
        try:
            metadata = Metadata[Any].from_bytes(read_regular(path, _MAX_BYTES))
        except (OSError, DeserializationError) as error:
            raise InputError(f"{path}: cannot read it: {reason_of(error)}; restore it from a backup") from None
        if not isinstance(metadata.signed, kind):
            raise InputError(f"{path}: contains metadata of {metadata.signed.type}; restore it from a backup")
        try:
            if kind is not Root:
                self.root.signed.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError:
            raise InputError(f"{path}: is not signed by the keys of the root; restore it from a backup") from None
        return cast("Metadata[T]", metadata)


def create_repository(folder: Path, keys: KeyStore, counts: dict[str, int], thresholds: dict[str, int]) -> None:
    """Create an empty repository and its keys.

    Args:
        folder: Where to create it; must not contain a repository.
        keys: Where to create the keys.
        counts: Number of keys of each role.
        thresholds: Number of keys of each role that must sign.

    Raises:
        InputError: If there is a repository already, or a threshold is larger than the number of keys.
        OutputError: If a file cannot be written.
    """
    metadata = folder / "metadata"
    if _latest_root(metadata):
        raise InputError(f"{folder}: is a release repository already; its keys would no longer fit")
    if keys.folder.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{keys.folder}: is inside {folder}, which is served to devices; keep the keys elsewhere")
    for role in ROLES:
        if thresholds[role] > counts[role]:
            raise InputError(f"{role}: {thresholds[role]} keys must sign, but there are only {counts[role]}")
    create_folder(metadata)
    create_folder(folder / "targets")
    root = Root(consistent_snapshot=True)
    signers: dict[str, list[CryptoSigner]] = {}
    for role in ROLES:
        signers[role] = [create_key(keys.folder, role, keys.passphrase) for _ in range(counts[role])]
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = thresholds[role]
    for role, signed in (("targets", Targets()), ("snapshot", Snapshot()), ("timestamp", Timestamp()), ("root", root)):
        _sign_and_write(metadata, Metadata(signed), signers[role])


def _sign_and_write(folder: Path, metadata: Metadata[Any], signers: Sequence[CryptoSigner]) -> None:
    signed = metadata.signed
    signed.expires = now() + dt.timedelta(days=VALID_DAYS[signed.type])
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    name = "timestamp.json" if signed.type == "timestamp" else f"{signed.version}.{signed.type}.json"
    write_bytes_atomically(folder / name, metadata.to_bytes(JSONSerializer()))


def now() -> dt.datetime:
    """Return the time in UTC without microseconds, which TUF does not allow."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def _signed_again(role: str) -> tuple[str, ...]:
    """Return the roles that must sign again after a key of ``role`` changed."""
    return {"root": (), "targets": ROLES[1:], "snapshot": ROLES[2:], "timestamp": ROLES[2:]}[role]


def _latest_root(metadata: Path) -> int:
    found = (re.fullmatch(r"([1-9]\d{0,8})\.root\.json", path.name) for path in metadata.glob("*.root.json"))
    return max((int(match[1]) for match in found if match), default=0)
