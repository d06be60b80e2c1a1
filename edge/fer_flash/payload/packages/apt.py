"""Run this computer's apt on an image's package sources: resolve, download and verify packages.

Everything that apt reads and writes is in a private folder, so that this computer's packages and sources have no
influence (apt.conf(5)). apt checks signatures and hashes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.payload.packages.apt_sources import AptSources

_PROGRAMS = ("apt-get", "apt-config", "dpkg-deb")
_SECONDS = 3600.0
"""Timeout for one call of apt: about 60 MB, and the connection may be slow."""
_CONFIGURATION = """\
Dir "{root}/";
Dir::State::status "{root}/status";
Dir::Etc "{root}/etc";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "{root}/etc/apt.conf.d";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/etc/sources.list.d";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "{root}/etc/trusted.gpg.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{root}/etc/preferences.d";
Dir::Etc::netrc "/dev/null";
Dir::Etc::netrcparts "{root}/etc/auth.conf.d";
Dir::State "{root}/state";
Dir::Cache "{root}/cache";
Dir::Log "{root}/log";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""
_OF_THE_HOST = re.compile(r'^Acquire::(https?)::[A-Za-z0-9:._/-]+ ".*";$', re.MULTILINE)
"""What is taken from this computer's configuration: how to reach the network (proxies, certificates)."""
_UNSIGNED = re.compile(
    r"NO_PUBKEY|BADSIG|EXPKEYSIG|EXPSIG|REVKEYSIG|not signed|signatures? (?:were|was|could)|sqv|gpgv"
)
_DAMAGED = re.compile(r"Hash Sum mismatch|unexpected size|Undetermined Error|Size mismatch|hashsum", re.IGNORECASE)
_CLOCK = re.compile(r"is not valid yet|is expired")
# "404  Not Found": apt prints two spaces after a status; ports and file sizes contain such digits too.
_NETWORK = re.compile(r"resolve|connect|unreachable|timed out|timeout|Temporary failure|\b[45]\d\d  ", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"Unable to locate package|has no installation candidate|unmet dependencies|Unable to (?:correct|satisfy)"
)
_REMOVES = re.compile(r"remove is disabled")


def missing_programs() -> tuple[str, ...]:
    """Return the apt programs that this computer lacks."""
    return tuple(name for name in _PROGRAMS if shutil.which(name) is None)


@dataclass(frozen=True, slots=True)
class Apt:
    """apt with the private folder ``root``."""

    root: Path

    def update(self) -> None:
        """Download the package lists and check their signatures.

        Raises CheckFailedError if a signature is wrong, InputError if a source does not answer.
        """
        self._run("update", step="the package lists")

    def download(self, names: Sequence[str], more: Sequence[str] = ()) -> list[Path]:
        """Download ``names`` and their dependencies that the image lacks, without recommended packages.

        ``more`` are downloaded too, but errors do not name them.

        Raises InputError if a source does not have them, CheckFailedError if a file does not match the signed lists.
        """
        # Packages of the image must not be removed.
        self._run("install", "--yes", "--download-only", "--no-remove", *names, *more, step=" and ".join(names))
        return sorted((self.root / "cache" / "archives").glob("*.deb"))

    def _run(self, *words: str, step: str) -> None:
        environment = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                ["apt-get", "--quiet", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"apt: {step}: no download within {_SECONDS / 60:.0f} minutes; try again") from None
        if done.returncode:
            raise _error(f"{done.stdout}\n{done.stderr}", step, done.returncode)


@contextmanager
def private_apt(sources: AptSources, architecture: str) -> Iterator[Apt]:
    """Yield apt on the image's ``sources`` for packages of ``architecture`` (Debian's name).

    Raises OutputError if its folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="fer-edge-apt-") as folder:
            root = Path(folder)
            # As root, apt downloads as the user _apt, which must be able to enter the folder.
            root.chmod(0o755)
            _fill(root, sources, architecture)
            yield Apt(root)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: apt cannot write there: {error.strerror or error}") from error


def _fill(root: Path, sources: AptSources, architecture: str) -> None:
    etc = root / "etc"
    for name in ("sources.list.d", "trusted.gpg.d", "keyrings", "preferences.d", "apt.conf.d", "auth.conf.d"):
        (etc / name).mkdir(parents=True)
    for name in ("state/lists/partial", "cache/archives/partial", "log"):
        (root / name).mkdir(parents=True)
    for path, data in sources.place_at(str(etc / "keyrings")).items():
        (etc / path).write_bytes(data)
    (root / "status").write_bytes(sources.status)
    text = _CONFIGURATION.format(root=root, architecture=architecture) + _host_configuration()
    (root / "apt.conf").write_text(text, encoding="utf-8")


def _host_configuration() -> str:
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, errors="replace", check=False)
    return "".join(f"{match[0]}\n" for match in _OF_THE_HOST.finditer(done.stdout))


def _error(said: str, step: str, code: int) -> InputError | CheckFailedError:
    """Return the error that matches apt's output, with a one-line message."""
    lines = [line.strip() for line in said.splitlines()]
    complaints = [line[3:] for line in lines if line.startswith(("E: ", "W: "))] or [f"apt-get ended with {code}"]

    def first(pattern: re.Pattern[str]) -> str | None:
        return next((line for line in (*complaints, *lines) if pattern.search(line)), None)

    if (line := first(_UNSIGNED)) is not None:
        return CheckFailedError(
            f"apt: a signature is not valid: {line}; no package was taken: use a fresh stock image, and check whether"
            " its sources are reached directly"
        )
    if (line := first(_DAMAGED)) is not None:
        return CheckFailedError(f"apt: a file does not match its signed list: {line}; try again later")
    if first(_UNKNOWN) is not None:
        lacking = next((line for line in lines if "Depends:" in line), complaints[0])
        return InputError(f"apt: the image's sources do not have {step}, or lack a dependency of it: {lacking}")
    for pattern, problem, advice in (
        (_CLOCK, "", "check this computer's date and time, then try again"),
        (_REMOVES, "it conflicts with packages of the image: ", "use a newer image"),
        (_NETWORK, "cannot be downloaded: ", "check the network, then try again"),
    ):
        if (line := first(pattern)) is not None:
            return InputError(f"apt: {step}: {problem}{line}; {advice}")
    return InputError(f"apt: {step}: {complaints[0]}")
