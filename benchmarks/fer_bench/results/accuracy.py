"""Accuracy of one variant, as a part of a report."""

from __future__ import annotations

from fer_bench.results.section import Section


class ShareResult(Section, frozen=True):
    """How many of ``n`` images are named right, as a share 0..1 with its 95 % interval."""

    n: int
    correct: int
    accuracy: float
    low: float
    high: float


class ClassRecall(Section, frozen=True):
    """How many of the ``support`` images that bear ``label`` are named so; ``recall`` is None when there is none.

    ``change`` is the recall less float32's (None for float32 itself, and where there is none).
    """

    label: str
    support: int
    correct: int
    recall: float | None
    change: float | None


class ReliabilityBin(Section, frozen=True):
    """The ``count`` images whose top class has a confidence within one of the equal-width bins of 0..1; ``confidence``
    and ``accuracy`` are their means (0 for none)."""

    count: int
    confidence: float
    accuracy: float


class AccuracyResult(Section, frozen=True):
    """Accuracy of a variant on a split; ``agreement`` and ``mcnemar_p`` compare it with float32 (None for float32
    itself, and where there is none).

    Shares are 0..1; ``low`` and ``high`` bound the 95 % interval; ``ece`` is at the manifest's ``temperature``.
    ``leak_free`` is over the images without an exact duplicate in another split, each once; ``distinct`` over those of
    them without a near duplicate in Training either (None in reports from before it was measured); ``ferplus`` goes by
    the majority of the FER+ votes in place of the label, over the images that have one; None where there is no such
    image, or no vote.

    ``confusion`` counts images, true labels down, predictions across. ``right`` says image by image, in the split's
    order, which are named right, as hexadecimal digits of ``n`` bits, the first image first: two reports on the same
    data are compared image by image.
    """

    split: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    ece: float
    temperature: float
    agreement: float | None
    mcnemar_p: float | None
    leak_free: ShareResult | None
    ferplus: ShareResult | None
    classes: tuple[ClassRecall, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    right: str
    distinct: ShareResult | None = None
