"""The first version of systemd that knows each setting of our units, from the man pages of systemd 257."""

from __future__ import annotations

import re
from importlib.resources import files

_SINCE = {
    "ExecCondition": 243,
    "LoadCredential": 247,
    "OOMPolicy": 243,
    "ProtectHostname": 242,
    "ProtectKernelLogs": 244,
    "ProtectProc": 247,
    "RestrictSUIDSGID": 242,
    "TimeoutAbortSec": 243,
}
_BEFORE_240 = frozenset((
    "After", "AmbientCapabilities", "Before", "CacheDirectory", "CacheDirectoryMode", "CapabilityBoundingSet",
    "ConditionPathExists", "Conflicts",
    "DefaultDependencies", "Description", "DeviceAllow", "DevicePolicy", "Documentation", "Environment",
    "ExecReload", "ExecStart", "Group", "KeyringMode", "LimitCORE", "LockPersonality", "MemoryDenyWriteExecute",
    "MemoryMax", "MemorySwapMax", "NoNewPrivileges", "NotifyAccess", "PrivateMounts", "PrivateTmp",
    "PrivateUsers", "ProtectControlGroups", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables",
    "ProtectSystem", "RemoveIPC", "RequiresMountsFor", "Restart", "RestartPreventExitStatus", "RestartSec",
    "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "StandardError", "StandardOutput",
    "StartLimitIntervalSec", "StateDirectory", "StateDirectoryMode", "SupplementaryGroups",
    "SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter", "TasksMax", "TimeoutStartSec",
    "TimeoutStopSec", "Type", "UMask", "User", "WantedBy", "WatchdogSec", "WorkingDirectory",
))  # fmt: skip
_UNITS = (
    ("fer_edge", ("service", "fer-edge.service")),
    ("fer_flash", ("first_boot", "scripts", "fer-edge-first-boot.service")),
)


def settings_of_units() -> frozenset[str]:
    """Return the names of all settings in our units, also in comments: a drop-in of the payload may set them."""
    found: set[str] = set()
    for package, path in _UNITS:
        text = files(package).joinpath(*path).read_text(encoding="utf-8")
        found |= set(re.findall(r"^#?([A-Z][A-Za-z]+)=", text, flags=re.MULTILINE))
    return frozenset(found)


def unknown_settings() -> frozenset[str]:
    """Return the settings whose first version is not listed in this module."""
    return settings_of_units() - _BEFORE_240 - set(_SINCE)


MIN_SYSTEMD = max(_SINCE.get(name, 0) for name in settings_of_units())
"""The first version that knows all of them."""
