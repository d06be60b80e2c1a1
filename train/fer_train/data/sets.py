"""Load the sets of a recipe's ``[data]``: read each, map it to the recipe's labels, and merge them with weights."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.images.resample import resample
from fer_edge.types import UInt8Array
from fer_train.data.ferplus import label_votes, load_votes
from fer_train.data.readers.cache import DecodedCache
from fer_train.data.readers.class_names import label_of, match_classes
from fer_train.data.readers.fer2013 import read_fer2013, slug
from fer_train.data.readers.image_set import ImageSetReader
from fer_train.data.readers.locate import holds_fer2013_file
from fer_train.data.samples import Dataset, Split
from fer_train.recipe.data import DataSettings, SetSettings
from fer_train.splits import SPLIT_NAMES, TRAINING

_LOG = logging.getLogger(__name__)

_CONTEMPT = "contempt"
"""FER+'s answer that is not a label of FER2013."""


def load_sets(
    settings: DataSettings, fer2013: Path | None = None, *, skip_bad: bool = False, cache: bool = True
) -> Dataset:
    """Read and merge the sets of ``settings``.

    Args:
        settings: The sets, labels and size.
        fer2013: The path of the set without a path. None: the default places.
        skip_bad: Leave out unreadable images and rows of all sets, and count them.
        cache: As for ``load_dataset``.

    Raises:
        InputError: if a set is missing or malformed, or has classes that are not labels; or if ``fer2013`` is given and
            no set needs it.
    """
    sets = settings.sets or (SetSettings(),)
    if fer2013 is not None and all(each.path for each in sets):
        raise InputError(f"{fer2013}: the recipe names all of its data itself ([[data.sets]]); leave --data out")
    parts = [_read_set(each, settings, fer2013, skip_bad=skip_bad, cache=cache) for each in sets]
    dataset = parts[0] if len(parts) == 1 else _merged(parts, [each.weight for each in sets])
    counts = np.bincount(dataset.splits[TRAINING].labels, minlength=len(dataset.labels))
    absent = [label for label, count in zip(dataset.labels, counts, strict=True) if not count]
    if absent and len(dataset.splits[TRAINING]):
        _LOG.warning(
            "%s: no %s image of %s: a model cannot learn it; data.labels of the recipe may leave it out",
            dataset.name,
            dataset.shown(TRAINING),
            ", ".join(absent),
        )
    return dataset


def _read_set(
    settings: SetSettings, data: DataSettings, fer2013: Path | None, *, skip_bad: bool, cache: bool
) -> Dataset:
    path = Path(settings.path) if settings.path else fer2013
    if settings.path:
        _check_there(Path(settings.path))
    if path is None or not path.is_dir() or holds_fer2013_file(path):
        return _read_table(settings, data, path, skip_bad=skip_bad, cache=cache)
    if settings.votes != "none":
        raise InputError(f"{path}: votes are FER+'s, which need the rows of FER2013 as one CSV file")
    reader = ImageSetReader(path, settings, data.labels, data.size)
    store = DecodedCache(path, reader.fingerprint(), reader.variant()) if cache else None
    dataset = store.load() if store else None
    if dataset is None or (dataset.skipped_rows and not (skip_bad or settings.skip_bad)):
        dataset = reader.read(skip_bad=skip_bad)
        if store:
            store.save(dataset)
    for note in dataset.notes:
        _LOG.warning("%s: %s", path, note)
    return dataclasses.replace(dataset, name=slug(path), own_splits=True)


def _check_there(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file or folder; paths of [[data.sets]] are relative to the current folder"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _read_table(
    settings: SetSettings, data: DataSettings, path: Path | None, *, skip_bad: bool, cache: bool
) -> Dataset:
    """Return FER2013 with the recipe's labels and size; unchanged if they are FER2013's."""
    where = settings.path or "FER2013"
    if settings.layout != "folders":
        raise InputError(f'{where}: layout = "{settings.layout}" is for a folder; give it as path')
    if settings.split not in ("auto", "given") or settings.faces != "whole":
        raise InputError(f"{where}: has a given split and tight crops; leave split and faces out for it")
    dataset = read_fer2013(path, skip_bad_rows=skip_bad or settings.skip_bad, cache=cache)
    votes = None if settings.votes == "none" else load_votes(dataset, path)[TRAINING]
    labels, classes = data.labels, settings.classes
    contempt = None
    if votes is not None:
        contempt = label_of(_CONTEMPT, labels)
        if _CONTEMPT in classes:
            contempt = match_classes([_CONTEMPT], {_CONTEMPT: classes[_CONTEMPT]}, labels, where)[_CONTEMPT]
            classes = {name: label for name, label in classes.items() if name != _CONTEMPT}
    matched = match_classes(dataset.labels, classes, labels, where)
    to_label = np.array([-1 if matched[name] is None else matched[name] for name in dataset.labels], dtype=np.int64)
    if votes is None and labels == dataset.labels and dataset.image_size == (data.size, data.size) and not classes:
        return dataset
    splits = {name: _relabelled(split, to_label, data.size) for name, split in dataset.splits.items()}
    if votes is not None:
        of_word = dict(zip(dataset.labels, to_label.tolist(), strict=True))
        of_word[_CONTEMPT] = -1 if contempt is None else contempt
        counts, others = label_votes(votes, of_word, len(labels))
        splits[TRAINING] = _voted(dataset.splits[TRAINING], counts, others, data.size, soft=settings.votes == "soft")
    name = f"{dataset.name}_{settings.votes if votes is not None else 'relabelled'}"
    return dataclasses.replace(dataset, name=name, labels=labels, splits=splits, rows_sha256=_hash_rows(splits))


def _relabelled(split: Split, to_label: npt.NDArray[np.int64], size: int) -> Split:
    labels = to_label[split.labels]
    kept = labels >= 0
    return Split(_resized(split.images[kept], size), labels[kept])


def _voted(
    split: Split, counts: npt.NDArray[np.float32], others: npt.NDArray[np.float32], size: int, *, soft: bool
) -> Split:
    """Return ``split`` labelled by votes: ``counts`` [N, labels], and ``others`` [N, answers] for no label."""
    most = counts.max(axis=1)
    if soft:
        kept = (counts.sum(axis=1) >= others.sum(axis=1)) & (most > 0)
    else:
        alone = (counts == most[:, np.newaxis]).sum(axis=1) == 1
        kept = alone & (most > others.max(axis=1, initial=0))
    _LOG.info("%d of %d Training images have a label by FER+'s votes", kept.sum(), len(kept))
    shares = counts[kept] / counts[kept].sum(axis=1, keepdims=True)
    return Split(_resized(split.images[kept], size), counts[kept].argmax(axis=1), shares=shares if soft else None)


def _resized(images: UInt8Array, size: int) -> UInt8Array:
    if images.shape[1:] == (size, size):
        return images
    return np.stack([resample(image, size, size) for image in images]) if len(images) else images[:, :size, :size]


def _merged(parts: Sequence[Dataset], weights: Sequence[float]) -> Dataset:
    """Return all rows of ``parts``, set by set within each split."""
    labels = parts[0].labels
    weighed, soft = len(set(weights)) > 1, any(part.splits[TRAINING].shares is not None for part in parts)
    splits = {}
    for name in SPLIT_NAMES:
        of_split = [part.splits[name] for part in parts]
        splits[name] = Split(
            np.concatenate([split.images for split in of_split]),
            np.concatenate([split.labels for split in of_split]),
            np.concatenate([np.full(len(s), w, np.float32) for s, w in zip(of_split, weights, strict=True)])
            if weighed
            else None,
            np.concatenate([split.distributions(len(labels)) for split in of_split]) if soft else None,
        )
    return Dataset(
        "_and_".join(part.name for part in parts),
        labels,
        splits,
        _hash_rows(splits),
        sum(part.skipped_rows for part in parts),
        tuple(f"{part.name}: {note}" for part in parts for note in part.notes),
        # FER2013's names remain if the other sets are only for training.
        any(part.own_splits and any(len(part.splits[name]) for name in SPLIT_NAMES[1:]) for part in parts),
    )


def _hash_rows(splits: dict[str, Split]) -> str:
    """Return a hash as ``Dataset.rows_sha256``, by split, that also covers soft targets."""
    digest = hashlib.sha256()
    for name in SPLIT_NAMES:
        split = splits[name]
        for label, image in zip(split.labels.tolist(), split.images, strict=True):
            digest.update(bytes([label]) + name.encode() + b"\0")
            digest.update(image.tobytes())
        if split.shares is not None:
            digest.update(split.shares.tobytes())
    return digest.hexdigest()
