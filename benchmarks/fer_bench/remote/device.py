"""A device that measures: ``fer-edge agent`` there, which is reached over SSH and sent files once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import signal
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

from fer_edge import __version__
from fer_edge.errors import DeviceError, FerEdgeError, InputError, ModelError, OutputError
from fer_edge.measure import PROTOCOL
from fer_edge.measure.machine import MachineFacts
from fer_edge.model.bundle import ModelBundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.system.closing import Closing
from fer_edge.system.messages import print_message
from fer_ssh.ssh import Address, Ssh

_FIND_PROGRAM = """\
for program in /opt/fer-edge/current/bin/fer-edge "$(command -v fer-edge)" "$HOME/.local/bin/fer-edge"; do
    if [ -x "$program" ]; then
        echo "$program"
        exit
    fi
done
"""
"""Where `fer-edge deploy` and pip put the program."""
_EXIT_CODES = {error.exit_code for error in (InputError, ModelError, OutputError)}
_AFTER_SIGNAL = 128
"""A shell adds this to the number of the signal that ended its program."""


class Device(Closing):
    """A device, ready to measure. A context manager that ends everything there, and the connection.

    ``host`` is its name for ssh, ``facts`` its description. The others are for jobs of processes that time models: its
    interpreter ``python``, the folders of its ``packages``, and the folder ``cache`` with the files that were sent.
    """

    def __init__(self, address: Address, *, interactive: bool) -> None:
        """Connect and start the agent. With ``interactive``, ssh may ask for a password.

        Raises InputError if the host cannot be reached or has no usable fer-edge, OutputError if the connection is
        lost or the device's cache cannot be written.
        """
        self.host = address.host
        self._known: set[str] = set()
        # Between a request and its answer, and for good if no answer was read.
        self._waiting = False
        with contextlib.ExitStack() as opened:
            ssh = opened.enter_context(Ssh(address, interactive=interactive))
            program = _find_program(ssh)
            # Not replaced by the program, so that the shell reports the signal that ends it; ssh reports none.
            script = f"{shlex.quote(program)} agent; exit $?"
            self._agent = opened.enter_context(ssh.converse(script))
            self._check_version()
            description = self._answer()
            self.facts = msgspec.convert(description["facts"], MachineFacts)
            self.cache, self.python = str(description["cache"]), str(description["python"])
            self.packages: dict[str, str] = description["packages"]
            self._opened = opened.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # With the error, so that ssh is killed, and nothing waits for a device that is busy or does not respond.
        self._opened.__exit__(kind, error, trace)

    def close(self) -> None:
        """End the agent and the connection. Idempotent."""
        self._opened.close()

    def request(self, request: str, payload: bytes = b"", /, **arguments: Any) -> Any:
        """Return the answer to a request; see ``fer_edge.measure.agent``.

        Raises DeviceError if the device answers with an error, and OutputError if the connection is lost.
        """
        if self._waiting:
            raise OutputError(f"{self.host}: does not respond any more; run this again")
        self._waiting = True
        with contextlib.suppress(BrokenPipeError):  # reading shows why
            self._agent.stdin.write(json.dumps({"request": request, **arguments}).encode() + b"\n" + payload)
            self._agent.stdin.flush()
        answer = self._answer()
        self._waiting = False
        return answer

    def send(self, files: Mapping[str, bytes]) -> None:
        """Send the ``files``, by their names in the device's cache, that it lacks. Raises what ``request`` does."""
        new = {name: data for name, data in files.items() if name not in self._known}
        if not new:
            return
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in new.items()}
        missing = self.request("missing", files={name: (hashes[name], len(data)) for name, data in new.items()})
        for name in missing:
            self.request("put", new[name], name=name, sha256=hashes[name], size=len(new[name]))
        self._known.update(new)
        sent = sum(len(new[name]) for name in missing)
        others = "; the others were there" if len(missing) < len(new) else ""
        print_message(f"{self.host}: sent {len(missing)} of {len(new)} files, {sent / 1e6:.1f} MB{others}")

    def send_bundle(self, bundle: ModelBundle, variants: tuple[str, ...]) -> None:
        """Send the manifest and the files of ``variants``. Raises what ``send`` does, and ModelError for a bad file."""
        names = [MANIFEST_NAME, *(bundle.variant(name).path.name for name in variants)]
        self.send({bundle_file(bundle, name): (bundle.folder / name).read_bytes() for name in names})

    def _check_version(self) -> None:
        # The user's shell there may print text before.
        for line in self._agent.stdout:
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and "fer_edge" in found:
                    break
        else:
            raise self._ended()
        if found.get("protocol") != PROTOCOL:
            raise InputError(
                f"{self.host}: its fer-edge {found['fer_edge']} does not fit this one, {__version__} (protocol"
                f" {found.get('protocol')}, not {PROTOCOL}): install the same version on both (fer-edge deploy)"
            )

    def _answer(self) -> Any:
        line = self._agent.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        try:
            answer = json.loads(line)
            if "error" not in answer:
                return answer["answer"]
        except (ValueError, TypeError, KeyError):
            raise FerEdgeError(f"{self.host}: gives an invalid answer: {line[:60]!r}") from None
        self._waiting = False
        raise self._error(answer["code"], answer["error"])

    def _ended(self) -> FerEdgeError:
        """Return the reason why the agent ended. Raises OutputError if the connection was lost."""
        answer = self._agent.end()
        said = (answer.stderr.splitlines() or ["without a message"])[-1].removeprefix("fer-edge: ")
        if "unknown command 'agent'" in said:
            return InputError(
                f"{self.host}: its fer-edge is too old to measure for this one: fer-edge deploy {self.host}"
            )
        name = {each.value: each.name for each in signal.Signals}.get(answer.code - _AFTER_SIGNAL)
        if name is not None:
            hint = " (too little memory?)" if name == "SIGKILL" else ""
            return OutputError(f"{self.host}: fer-edge agent was killed there by {name}{hint}; run this again")
        return self._error(answer.code, f"fer-edge agent ended there with exit code {answer.code}: {said}")

    def _error(self, code: int, text: str) -> FerEdgeError:
        return DeviceError(f"{self.host}: {text}", code if code in _EXIT_CODES else FerEdgeError.exit_code)


def bundle_key(bundle: ModelBundle) -> str:
    """Return the folder of ``bundle`` in a device's cache: the SHA-256 of its manifest, which has the files' own."""
    return hashlib.sha256((bundle.folder / MANIFEST_NAME).read_bytes()).hexdigest()


def bundle_file(bundle: ModelBundle, name: str) -> str:
    """Return the name in a device's cache of a file of ``bundle``."""
    return f"{bundle_key(bundle)}/{name}"


def _find_program(ssh: Ssh) -> str:
    found = ssh.run(_FIND_PROGRAM).stdout.splitlines()
    if not found or not found[-1].startswith("/"):
        raise InputError(f"{ssh.host}: fer-edge is not installed there: fer-edge deploy {ssh.host}")
    return found[-1]
