"""An ACL file for mosquitto, in which a device may publish only below its own name."""

from __future__ import annotations

_ACL = """\
# Made by `fer-edge fleet acl`. The user name of a device, or the common name of its certificate with
# `use_identity_as_username true`, is its `mqtt.device`. What is not allowed here is refused.
pattern write {topic}/%u/#
pattern read {topic}/%u/#

user {consumer}
topic read {topic}/#
"""


def acl_text(topic: str, consumer: str) -> str:
    """Return the ACL of devices below ``topic`` and of the user ``consumer`` that ingest is.

    >>> print(acl_text("cameras", "fleet").splitlines()[2])
    pattern write cameras/%u/#
    """
    return _ACL.format(topic=topic, consumer=consumer)
