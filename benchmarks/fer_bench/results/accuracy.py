"""Accuracy of one variant, as a part of a report."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fer_bench.results.section import Count, CountFrom1, Positive, Section, Share, Text

MIN_GROUP = 30
"""Images in a group; of fewer, an interval says next to nothing, and people could be recognized in so few."""
Change = Annotated[float, Meta(ge=-1, le=1)]


class ShareResult(Section, frozen=True):
    """Share of ``n`` images that are classified correctly, with its 95 % interval (Wilson)."""

    n: CountFrom1
    correct: Count
    accuracy: Share
    low: Share
    high: Share


class ClassRecall(Section, frozen=True):
    """Recall of one label."""

    label: Text
    support: Annotated[Count, Meta(description="Images with this label.")]
    correct: Count
    recall: Annotated[Share | None, Meta(description="Null without images.")]
    change: Annotated[
        Change | None,
        Meta(description="Recall minus that of float32; null for float32 itself."),
    ]


class ReliabilityBin(Section, frozen=True):
    """The images whose confidence is in one of the bins of equal width."""

    count: Count
    confidence: Annotated[Share, Meta(description="Mean; 0 without images.")]
    accuracy: Annotated[Share, Meta(description="Mean; 0 without images.")]


class GroupResult(Section, frozen=True):
    """Accuracy in one group of images."""

    group: Text
    n: CountFrom1
    correct: Count
    accuracy: Share
    low: Annotated[Share, Meta(description="Lower end of the 95 % interval (Wilson).")]
    high: Annotated[Share, Meta(description="Upper end of the 95 % interval (Wilson).")]
    balanced_accuracy: Annotated[
        Share,
        Meta(description="Mean recall of the labels, which does not depend on how frequent each is in the group."),
    ]
    difference: Annotated[
        Change | None, Meta(description="Accuracy minus that of all other groups together; null for a single group.")
    ]
    difference_low: Annotated[Change | None, Meta(description="Lower end of its 95 % interval (Newcombe).")]
    difference_high: Annotated[Change | None, Meta(description="Upper end of its 95 % interval (Newcombe).")]


class AttributeResult(Section, frozen=True):
    """Accuracy in the groups of one attribute, such as age."""

    attribute: Text
    left_out: Annotated[Count, Meta(description="Images without a group, or in one that is too small.")]
    p: Annotated[
        Share | None,
        Meta(description="p of a test of equal accuracy, adjusted for the number of attributes; null for one group."),
    ]
    groups: tuple[GroupResult, ...]


class AccuracyResult(Section, frozen=True):
    """Accuracy of a variant on a split."""

    split: Text
    n: CountFrom1
    correct: Count
    accuracy: Share
    low: Annotated[Share, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[Share, Meta(description="Upper end of the 95 % interval.")]
    balanced_accuracy: Share
    ece: Annotated[Share, Meta(description="Expected calibration error at this temperature.")]
    temperature: Positive
    agreement: Annotated[
        Share | None, Meta(description="Share of images with the same label as float32; null for float32 itself.")
    ]
    mcnemar_p: Annotated[
        Share | None, Meta(description="p of McNemar's exact test against float32; null for float32 itself.")
    ]
    leak_free: Annotated[
        ShareResult | None,
        Meta(description="Over the images without an exact duplicate in another split, each once; null for none."),
    ]
    ferplus: Annotated[
        ShareResult | None,
        Meta(description="By the majority of FER+'s raters, over the images that have one; null without votes."),
    ]
    classes: tuple[ClassRecall, ...]
    confusion: Annotated[
        tuple[tuple[Count, ...], ...],
        Meta(description="Images: rows are true labels, columns are predictions."),
    ]
    reliability: Annotated[tuple[ReliabilityBin, ...], Meta(description="Bins of equal width from 0 to 1.")]
    right: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{2})+$",
            description="Which images are classified correctly: n bits in hexadecimal, first image first, padded with "
            "zeros. With it, two reports on the same data are compared image by image.",
        ),
    ]
    distinct: Annotated[
        ShareResult | None,
        Meta(description="Leak-free, and without near duplicates in Training; null if it was not measured."),
    ] = None
    mirrored: Annotated[
        ShareResult | None, Meta(description="By the mean of the image and its mirror image, with --views.")
    ] = None
    ten_crops: Annotated[
        ShareResult | None,
        Meta(description="By the mean of ten crops of 44/48 of the side, enlarged, with --views."),
    ] = None
    attributes: Annotated[
        tuple[AttributeResult, ...], Meta(description="Accuracy in groups of images, of a file with --groups.")
    ] = ()
