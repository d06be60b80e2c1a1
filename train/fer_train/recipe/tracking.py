"""``[tracking]`` of a recipe: where a run is recorded, in addition to its folder."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from fer_edge.settings.base import Settings, require


class TrackingSettings(Settings, frozen=True):
    """``[tracking]``: record curves, settings, the final report and the model card of a run, for comparison with
    others. It has no effect on the model."""

    kind: Annotated[
        Literal["none", "tensorboard", "mlflow"],
        Meta(description="The program that shows the records; each needs the extra of its name."),
    ] = "none"
    store: Annotated[
        str,
        Meta(
            description="TensorBoard: the log folder, in which each run has a folder of its name. MLflow: the tracking"
            " URI, such as `sqlite:///mlflow.db` or `http://server:5000`. Empty: the run's folder `tensorboard`, or"
            " MLflow's own default, such as MLFLOW_TRACKING_URI."
        ),
    ] = ""
    experiment: Annotated[Annotated[str, Meta(min_length=1)], Meta(description="MLflow: name of the experiment.")] = (
        "fer-edge"
    )

    def _check(self) -> None:
        # The recipe becomes a part of the run and of the bundle.
        require(
            urlsplit(self.store).password is None,
            "store must not contain a password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
