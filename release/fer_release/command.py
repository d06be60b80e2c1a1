"""The work of ``fer-edge release``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.errors import InputError, reason_of
from fer_edge.model.bundle import load_bundle
from fer_edge.system.extras import require_modules
from fer_edge.system.files import read_regular
from fer_edge.system.messages import print_message, print_text

# Checked before the imports that fail without them.
require_modules(("tuf", "cryptography"), "release")

from fer_release import bundles  # noqa: E402
from fer_release.repository import ROLES, KeyStore, Repository, create_repository  # noqa: E402
from fer_release.status import describe, expired, warnings  # noqa: E402

_MAX_PASSPHRASE_BYTES = 4096


def init(arguments: argparse.Namespace) -> int:
    """Create a repository, and print where its root is and what must be kept."""
    keys = _keys(arguments)
    counts, thresholds = dict.fromkeys(ROLES, 1), dict.fromkeys(ROLES, 1)
    for role in ("root", "targets"):
        counts[role] = getattr(arguments, f"{role}_keys")
        thresholds[role] = getattr(arguments, f"{role}_threshold")
    create_repository(arguments.folder, keys, counts, thresholds)
    print_text(
        f"{arguments.folder}\n"
        f"root of trust, for each device: {arguments.folder / 'metadata' / '1.root.json'}\n"
        f"private keys: {keys.folder} (move those of root to an offline disk, with a copy)\n"
    )
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Check a bundle and publish it."""
    repository = Repository(arguments.folder)
    with load_bundle(arguments.bundle) as bundle:
        bundles.check_bundle(bundle, None if arguments.no_gate else arguments.gate, arguments.data)
        release = bundles.publish(repository, bundle, arguments.channel, arguments.rollout, _keys(arguments))
    print_text(f"{release.version} in {arguments.channel}, for {release.rollout_percent} % of the devices\n")
    return 0


def refresh(arguments: argparse.Namespace) -> int:
    """Sign snapshot and timestamp again."""
    repository, keys = Repository(arguments.folder), _keys(arguments)
    if arguments.root:
        repository.renew_root(keys)
    repository.refresh(keys)
    for line in warnings(repository):
        print_message(line)
    return 0


def rotate_key(arguments: argparse.Namespace) -> int:
    """Replace a key."""
    new = Repository(arguments.folder).rotate_key(arguments.role, _keys(arguments), arguments.key)
    print_text(f"new key of {arguments.role}: {new[:12]}\n")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Print the state of a repository; 1 if something has expired."""
    repository = Repository(arguments.folder)
    print_text(describe(repository))
    for line in warnings(repository):
        print_message(line)
    return 1 if expired(repository) else 0


def _keys(arguments: argparse.Namespace) -> KeyStore:
    folder: Path = arguments.folder.absolute()
    passphrase = None
    if arguments.passphrase_file is not None:
        try:
            text = read_regular(arguments.passphrase_file, _MAX_PASSPHRASE_BYTES)
        except OSError as error:
            raise InputError(f"{arguments.passphrase_file}: cannot read the passphrase: {reason_of(error)}") from None
        passphrase = text.splitlines()[0] if text else b""
        if not passphrase:
            raise InputError(f"{arguments.passphrase_file}: its first line is empty; write the passphrase there")
    return KeyStore(arguments.keys or folder.with_name(f"{folder.name}.keys"), passphrase)
