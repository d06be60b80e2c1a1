"""Settings of the pipeline: detection, schedule, tracking, crop quality and emotions."""

from typing import Annotated, Literal

from msgspec import Meta, field

from fer_edge.settings.base import Settings, require
from fer_edge.settings.values import MAX_IMAGE_SIDE_PX, BudgetShare, Duration, Hour, Name, Share, Threads

CASCADE_WINDOW = 24
"""Side in pixels of the Haar cascade's detection window, hence of the smallest face that it can detect."""
YUNET_WINDOW = 36
"""Width in pixels to which the smallest face to detect is reduced for YuNet. At 36 pixels YuNet detects as many faces
of FER2013 as the Haar cascade at 24."""
YUNET_MIN_PX = 10
"""Minimum shorter side, in pixels, of an image that YuNet searches. It does not detect smaller faces."""
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_PAGE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"
"""OpenCV's download page of the file."""

MAX_REGION_GROWTH_S = 0.5
"""Seconds since a face was last located after which its search region and its association distance stop growing."""

Score = Annotated[float, Meta(ge=0.05, le=1)]
ScaleFactor = Annotated[float, Meta(ge=1.01, le=2)]
Neighbors = Annotated[int, Meta(ge=0, le=50)]
Sharpness = Annotated[float, Meta(ge=0, le=2)]


class DetectorSettings(Settings, frozen=True):
    """``[detector]``: the face detector and its parameters.

    >>> DetectorSettings(min_face_px=64).kind
    'haar'
    """

    kind: Annotated[
        Literal["haar", "yunet"],
        Meta(
            description="`haar` is OpenCV's Haar cascade for upright frontal faces. `yunet` is a small neural network"
            " that also detects turned faces; it requires `model`."
        ),
    ] = "haar"
    model: Annotated[
        str | None,
        Meta(
            description=f"For `yunet`: path of the model file, from {YUNET_PAGE} (230 KB).",
            examples=[f"/etc/fer-edge/{YUNET_FILE}"],
        ),
    ] = None
    min_face_px: Annotated[
        Annotated[int, Meta(ge=8, le=8192)],
        Meta(
            description="Minimum face width in a search of the whole frame, in pixels of the frame. Faces that are"
            " smaller than 24 pixels (`yunet`: 36) after the reduction to `full_search_width_px` are not detected."
        ),
    ] = 48
    min_score: Annotated[
        Score,
        Meta(
            description="For `yunet`: minimum score of a face. A higher value gives fewer false and more missed faces."
        ),
    ] = 0.7
    known_min_score: Annotated[
        Score,
        Meta(description="For `yunet`: minimum score when searching near a known face, where a face is likely."),
    ] = 0.5
    max_iou: Annotated[
        Share,
        Meta(
            description="For `yunet`: threshold of the non-maximum suppression (intersection over union). Of two faces"
            " that overlap by more, only the one with the higher score is kept."
        ),
    ] = 0.3
    scale_factor: Annotated[
        ScaleFactor,
        Meta(
            description="For `haar`: ratio between successive scales. A value closer to 1 detects more faces and takes"
            " longer."
        ),
    ] = 1.15
    min_neighbors: Annotated[
        Neighbors,
        Meta(
            description="For `haar`: minimum number of overlapping detections per face. A higher value gives fewer"
            " false and more missed faces. Use 2 or 3 if `verify` is off."
        ),
    ] = 1
    known_scale_factor: Annotated[
        ScaleFactor,
        Meta(
            description="For `haar`: `scale_factor` when searching near a known face. Its size is known, so only a few"
            " scales are searched."
        ),
    ] = 1.15
    known_min_neighbors: Annotated[
        Neighbors,
        Meta(description="For `haar`: `min_neighbors` when searching near a known face, where a face is likely."),
    ] = 1
    verify: Annotated[
        bool,
        Meta(
            description="Verify detected and tracked faces with a small neural network. If off, false faces may be"
            " tracked for seconds."
        ),
    ] = True
    threads: Annotated[
        Threads,
        Meta(description="Number of OpenCV threads in the process, used for detection and for resizing."),
    ] = 1

    def _check(self) -> None:
        if self.kind == "yunet":
            require(self.model is not None, f'kind = "yunet" needs model: the path of {YUNET_FILE}, from {YUNET_PAGE}')
        else:
            require(self.model is None, 'model is for YuNet only: set kind = "yunet", or remove model')


class ScheduleSettings(Settings, frozen=True):
    """``[schedule]``: where and how often to search for faces, and the CPU budget for it.

    >>> ScheduleSettings(budget_share=0.1).budget_share
    0.1
    """

    max_acquire_s: Annotated[
        Hour,
        Meta(
            description="Time in seconds within which a new face anywhere in the frame should be detected, if the"
            " budget allows it. The frame is searched tile by tile over this time. 0 searches the whole of every"
            " frame."
        ),
    ] = 1.0
    budget_share: Annotated[
        BudgetShare,
        Meta(description="Average share of one core's time available to face detection."),
    ] = 0.5
    budget_max_ms: Annotated[
        Annotated[float, Meta(gt=0, le=60_000)] | None,
        Meta(
            description="Time budget in milliseconds for the searches of one frame; a single search may exceed it. If"
            " not set, there is no limit.",
            examples=[20.0],
        ),
    ] = None
    full_search_width_px: Annotated[
        Annotated[int, Meta(ge=48, le=MAX_IMAGE_SIDE_PX)],
        Meta(
            description="Width in pixels to which the frame is reduced for a search of the whole frame; the longer side"
            " if `max_acquire_s` is 0. YuNet uses 1.5 times this value."
        ),
    ] = 320
    face_px: Annotated[
        Annotated[int, Meta(ge=CASCADE_WINDOW, le=500)],
        Meta(
            description="Width in pixels to which a known face is reduced for the search around it. YuNet uses 1.5"
            " times this value."
        ),
    ] = 48
    search_interval_s: Annotated[
        Hour,
        Meta(
            description="Seconds between two searches for a face whose appearance is unchanged. A face whose appearance"
            " has changed is searched for in the next frame."
        ),
    ] = 0.3
    still_search_interval_s: Annotated[
        Hour,
        Meta(description="Seconds between two searches of a region without motion."),
    ] = 10.0
    motion_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=255)],
        Meta(
            description="Change in grey levels above which a part of the frame counts as moving. 0 disables motion"
            " detection: regions without motion are searched as often as others."
        ),
    ] = 4.0
    region_margin: Annotated[
        Annotated[float, Meta(ge=1.2, le=100)],
        Meta(description="Side of the search region around a face that was just located, in face widths."),
    ] = 1.5
    region_growth: Annotated[
        Annotated[float, Meta(ge=0, le=1000)],
        Meta(
            description="Growth of that side, in face widths per second since the face was last located. It stops after"
            " half a second."
        ),
    ] = 4.0


class TrackingSettings(Settings, frozen=True):
    """``[tracking]``: when a track is confirmed, and when it ends."""

    min_hits: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        Meta(
            description="Number of detections after which a track is confirmed and reported. For a single image, one is"
            " enough."
        ),
    ] = 2
    max_missed_s: Annotated[Duration, Meta(description="Seconds of failed searches after which a track ends.")] = 1.0
    max_coast_s: Annotated[
        Duration,
        Meta(
            description="Seconds for which a track without detections is still shown, at its predicted position.",
        ),
    ] = 0.3


class QualitySettings(Settings, frozen=True):
    """``[quality]``: limits beyond which a crop is counted but not classified.

    To disable a check, set its minimum to 0, ``max_overexposed`` to 1 or ``max_sharpness`` to 2.
    """

    min_face_px: Annotated[
        Annotated[int, Meta(ge=0, le=8192)],
        Meta(description="Minimum side of a face's box, in pixels of the frame."),
    ] = 20
    min_inside: Annotated[Share, Meta(description="Minimum share of the crop that lies within the frame.")] = 0.6
    max_overexposed: Annotated[Share, Meta(description="Maximum share of overexposed pixels.")] = 0.5
    min_contrast: Annotated[
        Annotated[float, Meta(ge=0, le=128)],
        Meta(description="Minimum standard deviation of the pixels, in grey levels. It is low for dark or hazy faces."),
    ] = 12.0
    min_sharpness: Annotated[
        Sharpness, Meta(description="Minimum sharpness. Faces out of focus or in motion have less.")
    ] = 0.55
    max_sharpness: Annotated[
        Sharpness,
        Meta(
            description="Maximum sharpness, at least `min_sharpness`. Crops dominated by sensor noise have more (white"
            " noise: 1.73)."
        ),
    ] = 1.5

    def _check(self) -> None:
        require(self.min_sharpness <= self.max_sharpness, "max_sharpness must be between min_sharpness and 2")


class EmotionSettings(Settings, frozen=True):
    """``[emotion]``: what is reported, smoothing, thresholds for a change of emotion, and heartbeats.

    >>> EmotionSettings(groups={"positive": ("happy", "surprise")}).enabled
    True
    """

    enabled: Annotated[
        bool,
        Meta(
            description="Classify faces. If off, no model is loaded, and faces are reported without an emotion: a"
            " sensor for presence, see `[presence]`."
        ),
    ] = True
    groups: Annotated[
        dict[Name, tuple[str, ...]],
        Meta(
            description="Groups of emotions to report instead of the emotions in them. The probabilities of a group are"
            " added before smoothing. An emotion without a group is reported under its own name.",
            examples=[{"positive": ["happy", "surprise"], "negative": ["angry", "disgust", "fear", "sad"]}],
        ),
    ] = field(default_factory=dict)
    valence_arousal: Annotated[
        bool,
        Meta(
            description="Also report valence (unpleasant to pleasant) and arousal (calm to excited) of each face, from"
            " -1 to 1. They are not measured but derived: the mean of published values of the seven emotions, weighted"
            " by their probabilities (Russell and Mehrabian 1977, doi:10.1016/0092-6566(77)90037-X)."
        ),
    ] = False
    smoothing_s: Annotated[
        Duration,
        Meta(
            description="Time constant of the exponential smoothing of the probabilities, in seconds; 0 disables"
            " smoothing. A change takes effect sooner, since a changing face is classified in every frame."
        ),
    ] = 0.6
    classify_interval_s: Annotated[
        Duration,
        Meta(
            description="Seconds between two classifications of a face with stable results; 0 classifies each face in"
            " each frame."
        ),
    ] = 0.3
    enter: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        Meta(description="Minimum smoothed probability for a track to take an emotion."),
    ] = 0.4
    exit: Annotated[
        Share, Meta(description="Smoothed probability, at most `enter`, below which a track loses its emotion.")
    ] = 0.25
    min_lead: Annotated[
        Share,
        Meta(
            description="Margin in probability by which another emotion must exceed a track's current one to replace"
            " it."
        ),
    ] = 0.15
    min_dwell_s: Annotated[
        Duration,
        Meta(description="Seconds for which the condition for a change must hold before the emotion changes."),
    ] = 0.2
    heartbeat_s: Annotated[Duration, Meta(description="Seconds between heartbeat events; 0 disables them.")] = 0.0

    def _check(self) -> None:
        require(self.exit <= self.enter, "exit must be between 0 and enter")
        require(self.enabled or not (self.groups or self.valence_arousal), "groups and valence_arousal need enabled")
        require(not (self.groups and self.valence_arousal), "valence_arousal needs the single emotions: remove groups")
        group_of: dict[str, str] = {}
        for name, emotions in self.groups.items():
            require(len(emotions) > 0, f"groups.{name} is empty: name at least one emotion")
            for emotion in emotions:
                require(emotions.count(emotion) == 1, f"groups.{name} names {emotion} twice")
                other = group_of.setdefault(emotion, name)
                require(other == name, f"groups.{name}: {emotion} is in groups.{other} already")


class PresenceSettings(Settings, frozen=True):
    """``[presence]``: events for the number of faces in view, with hysteresis in time."""

    enabled: Annotated[
        bool,
        Meta(
            description="Emit a `presence` event when the number of faces changes, of the source and of each zone. The"
            " states of MQTT and the status page then show this number."
        ),
    ] = False
    enter_after_s: Annotated[
        Hour, Meta(description="Seconds for which more faces must be in view before the number rises.")
    ] = 0.5
    leave_after_s: Annotated[
        Hour, Meta(description="Seconds for which fewer faces must be in view before the number falls.")
    ] = 5.0
