"""The state of a repository in words."""

from __future__ import annotations

from fer_edge.update.format import CHANNELS
from fer_release.bundles import releases
from fer_release.payloads import payloads
from fer_release.repository import ROLES, WARN_DAYS, Repository, now

_HOUR_S, _DAY_S = 3600, 86_400


def describe(repository: Repository) -> str:
    """Return the releases of each channel, the payloads of the program, then each role's version, keys and expiry."""
    lines = []
    for channel in CHANNELS:
        found = releases(repository, channel)
        lines.append(f"{channel}: " + ("nothing released" if not found else ""))
        for release in reversed(found):
            custom = repository.targets.signed.targets[release.target].unrecognized_fields.get("custom", {})
            measured = ", ".join(f"{name} {value}" for name, value in sorted(custom.get("accuracy", {}).items()))
            lines.append(f"  {release.version}  {release.rollout_percent} % of the devices  {measured}".rstrip())
    programs = payloads(repository)
    if programs:
        lines.append("program:")
    lines += [f"  {program.version}  {program.release} on {program.machine}" for program in reversed(programs)]
    for role in ROLES:
        signed, entry = repository.roles[role], repository.root.signed.roles[role]
        keys = f"{entry.threshold} of {len(entry.keyids)} keys ({', '.join(key[:12] for key in entry.keyids)})"
        lines.append(f"{role}: version {signed.version}, {_expiry(repository, role)}, {keys}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def warnings(repository: Repository) -> list[str]:
    """Return a line for each role that has expired or soon expires, with what to do."""
    lines = []
    for role in ROLES:
        if _left_s(repository, role) < WARN_DAYS[role] * _DAY_S:
            lines.append(f"{role} {_expiry(repository, role)}: {_remedy(role, repository)}")
    return lines


def expired(repository: Repository) -> bool:
    """Return whether devices refuse the repository because something has expired."""
    return any(_left_s(repository, role) <= 0 for role in ROLES)


def _left_s(repository: Repository, role: str) -> float:
    return (repository.roles[role].expires - now()).total_seconds()


def _expiry(repository: Repository, role: str) -> str:
    left, date = _left_s(repository, role), f"{repository.roles[role].expires:%Y-%m-%d}"
    amount = abs(left)
    words = f"{amount / _DAY_S:.0f} days" if amount >= 2 * _DAY_S else f"{amount / _HOUR_S:.0f} hours"
    return f"expires in {words} ({date})" if left > 0 else f"expired {words} ago ({date}), devices refuse it"


def _remedy(role: str, repository: Repository) -> str:
    command = f"fer-edge release refresh {repository.folder}"
    if role == "root":
        return f"run {command} --root, which needs the keys of root"
    if role == "targets":
        return "publish a bundle again, which needs the keys of targets"
    return f"run {command}"
