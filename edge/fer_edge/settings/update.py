"""Settings of signed model updates."""

from typing import Annotated, Literal

from msgspec import Meta

from fer_edge.settings.base import Settings, require
from fer_edge.settings.values import BudgetShare, Duration, HttpUrl, Share

MIN_INTERVAL_S = 60.0


class UpdateSettings(Settings, frozen=True):
    """``[update]``: take new versions of the model from a signed repository (extra ``update``)."""

    url: Annotated[
        HttpUrl | None,
        Meta(
            description="http:// or https:// URL of the repository that `fer-edge release` writes. If not set, the"
            " model is not updated.",
            examples=["https://example.org/fer-edge"],
        ),
    ] = None
    channel: Annotated[
        Literal["stable", "canary"],
        Meta(description="Releases to take: `stable`, or also those that are still being tried, `canary`."),
    ] = "stable"
    folder: Annotated[
        str,
        Meta(description="Folder of the downloaded versions and the state of the update; writable by the program."),
    ] = "/var/lib/fer-edge/update"
    root: Annotated[
        str | None,
        Meta(
            description="File with the repository's root of trust, its first `root.json`. If not set: the file that"
            " `fer-edge update trust` has copied into `folder`.",
            examples=["/etc/fer-edge/root.json"],
        ),
    ] = None
    interval_s: Annotated[
        Duration,
        Meta(
            description="Seconds between two checks for a new version, at least 60. 0 disables them; then only"
            " `fer-edge update apply` updates the model."
        ),
    ] = 6 * 3600.0
    jitter: Annotated[
        Share,
        Meta(
            description="Random part of the interval, as a share of it, so that many devices do not ask at the same"
            " time."
        ),
    ] = 0.2
    shadow_s: Annotated[
        Duration,
        Meta(
            description="Seconds for which `fer-edge run` also classifies faces with the new version, in a separate"
            " process, and compares, before it uses it. 0 uses it at once."
        ),
    ] = 3600.0
    max_cpu_share: Annotated[BudgetShare, Meta(description="Maximum share of one core's time for this comparison.")] = (
        0.1
    )
    probation_s: Annotated[
        Duration,
        Meta(
            description="Seconds for which a new version is in probation: if it crashes, hangs or is too slow, the"
            " previous version returns, and the new one is not tried again."
        ),
    ] = 24 * 3600.0
    max_frame_time_ratio: Annotated[
        Annotated[float, Meta(ge=1, le=100)],
        Meta(description="Maximum time of a frame with a new version, relative to the previous version."),
    ] = 1.5
    trust_clock: Annotated[
        bool,
        Meta(
            description="Use the clock although the system does not report that it is synchronized, as with a hardware"
            " clock. With a wrong clock, outdated metadata is accepted."
        ),
    ] = False

    def _check(self) -> None:
        require(
            self.interval_s == 0 or self.interval_s >= MIN_INTERVAL_S,
            f"interval_s must be 0, or at least {MIN_INTERVAL_S:g}",
        )
