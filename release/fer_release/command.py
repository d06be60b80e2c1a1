"""The work of ``fer-edge release``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from fer_edge.errors import InputError, reason_of
from fer_edge.model.bundle import load_bundle
from fer_edge.system.extras import require_modules
from fer_edge.system.files import read_regular
from fer_edge.system.messages import print_message, print_text

# Checked before the imports that fail without them.
require_modules(("tuf", "cryptography"), "release")

from fer_release import bundles, payloads  # noqa: E402
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
    """Check a bundle, payloads or both, and publish them."""
    _check_publish(arguments)
    repository, keys = Repository(arguments.folder), _keys(arguments)
    with nullcontext() if arguments.bundle is None else load_bundle(arguments.bundle) as bundle:
        if bundle is not None:  # before anything is published
            bundles.check_bundle(bundle, arguments.gate, arguments.data)
        if arguments.payload:
            for payload in payloads.publish(repository, arguments.payload, keys):
                print_text(f"program {payload.version} for {payload.release} on {payload.machine}\n")
        if bundle is not None:
            channel, rollout = arguments.channel or "stable", 100 if arguments.rollout is None else arguments.rollout
            release = bundles.publish(repository, bundle, channel, rollout, keys)
            print_text(f"{release.version} in {channel}, for {release.rollout_percent} % of the devices\n")
    return 0


def _check_publish(arguments: argparse.Namespace) -> None:
    judged = arguments.no_gate or arguments.gate is not None
    if arguments.bundle is None and not arguments.payload:
        raise InputError("nothing to publish: give a BUNDLE, or --payload DIR")
    if arguments.bundle is not None and not judged:
        raise InputError(f"{arguments.bundle}: a bundle needs --gate TOML, or --no-gate")
    of_bundle = (arguments.gate, arguments.data, arguments.channel, arguments.rollout)
    if arguments.bundle is None and (judged or any(value is not None for value in of_bundle)):
        raise InputError("--gate, --no-gate, --data, --channel and --rollout are for a BUNDLE; payloads have none")


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
