"""The limits that docs/explanation/security.md names are those of the code."""

from __future__ import annotations

import re

import pytest

from fer_edge.daemon.signals import MAX_STOP_S
from fer_edge.model import archive, manifest, trial
from fer_edge.settings import secret_files, toml_files
from fer_edge.sinks.mqtt import client
from fer_edge.sources.stream.redirects import MAX_REDIRECTS
from fer_fleet import messages, rate_limit
from support.environments.fresh_install import CHECKOUT

PAGE = " ".join((CHECKOUT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8").split())

UNIT = (CHECKOUT / "edge" / "fer_edge" / "service" / "fer-edge.service").read_text(encoding="utf-8")


def unit(setting: str) -> str:
    """Return the value of a setting of the service's unit."""
    (value,) = re.findall(rf"^{setting}=(.*)$", UNIT, flags=re.MULTILINE)
    return str(value)


@pytest.mark.parametrize(
    "said",
    [
        f"at most {toml_files._MAX_BYTES >> 20} MiB; types, ranges and lengths",
        f"manifest of at most {manifest._MAX_MANIFEST_BYTES >> 20} MiB",
        f"at most {archive.MAX_UNPACKED_BYTES >> 20} MiB unpacked and {archive.MAX_MEMBERS:,} files",
        f"for at most {trial.MAX_TRIAL_S:.0f} s",
        f"SIGTERM ends the program within {MAX_STOP_S:.0f} s",
        f"`source.follow_redirects`, {MAX_REDIRECTS} at most",
        f"packets over {client.MAX_PACKET_BYTES >> 10} KiB",
        f"`MemoryMax={unit('MemoryMax')}` in the unit limits the service to {unit('MemoryMax')[:-1]} % of",
        f"starts it again after {unit('RestartSec')} s",
        f"at most {messages.MAX_PAYLOAD_BYTES >> 10} KiB; types, lengths and ranges; numbers in each session;"
        f" {rate_limit.DEFAULT_PER_S:.0f} messages per second and device",
        f"have up to {rate_limit.DEFAULT_PER_S * rate_limit.BURST_S:,.0f} messages at once and"
        f" {rate_limit.DEFAULT_PER_S:.0f} per second stored",
        f"a token ({secret_files.MIN_TOKEN_LENGTH} characters or more)",
    ],
)
def test_the_page_names_the_limits_of_the_code(said: str) -> None:
    assert said in PAGE
