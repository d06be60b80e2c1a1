"""The audit finds exactly the inserted faults, and FER2013's known ones in the real data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fer_train.data.audit import Audit
from fer_train.data.dataset import Dataset, leak_free_test, leak_free_training, load_dataset
from support.data.fer2013 import MiniRow, csv_bytes, mini_rows, real_fer2013, write_csv, write_mini_fer2013

TINY = {"per_class": 4, "test_per_class": 2, "side": 12}


@pytest.fixture(scope="module")
def real() -> Dataset:
    return real_fer2013()


def audit_of(path: Path) -> Audit:
    return Audit(load_dataset(path, cache=False))


def test_a_clean_file_has_no_findings(tmp_path: Path) -> None:
    audit = audit_of(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    report = audit.report()
    assert (report.rows, report.distinct, report.duplicates) == (56, 56, 0)
    assert report.classes["Training"] == dict.fromkeys(report.classes["Training"], 4)
    assert report.largest_to_smallest == {"Training": 1.0, "PublicTest": 1.0, "PrivateTest": 1.0}
    assert not report.is_known_fer2013
    assert report.rows_of_fer2013 == 0
    assert list(audit.findings()) == []


def test_every_fault_is_counted_and_listed(tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", duplicates=2, leaks=3, conflicts=4, blanks=5, **TINY)
    audit = audit_of(path)
    report = audit.report()
    assert report.rows == 56 + 2 + 3 + 4 + 5
    assert report.duplicates == report.duplicate_groups == 2 + 3 + 4
    assert report.cross_split_groups == report.public_in_training == report.training_rows_dropped == 3
    assert report.private_in_training == 0
    assert report.conflicting_groups == 4
    assert report.blank == 5

    findings = list(audit.findings())
    assert Counter(finding.kind for finding in findings) == {
        "duplicate": 2 * (2 + 3 + 4),
        "leak": 2 * 3,
        "conflict": 2 * 4,
        "blank": 5,
    }
    dataset = load_dataset(path, cache=False)
    for finding in findings:
        assert dataset.labels[dataset.splits[finding.split].labels[finding.row]] == finding.label
    by_group: dict[int, set[bytes]] = {}
    for finding in findings:
        image = dataset.splits[finding.split].images[finding.row]
        by_group.setdefault(finding.group, set()).add(image.tobytes())
    assert all(len(images) == 1 for images in by_group.values())
    # Training: 28 rows, 2 repeated, then the 3 copies of PublicTest rows.
    leaked = [finding.row for finding in findings if (finding.kind, finding.split) == ("leak", "Training")]
    assert sorted(leaked) == [30, 31, 32]


def test_the_leak_free_test_images_stand_nowhere_else_and_count_once(tmp_path: Path) -> None:
    rows = mini_rows(**TINY)
    training, public, private = (
        [row for row in rows if row.usage == name] for name in ("Training", "PublicTest", "PrivateTest")
    )
    rows += [
        MiniRow(public[0].label, "Training", public[0].pixels),
        MiniRow(public[1].label, "PrivateTest", public[1].pixels),
        MiniRow(0, "PublicTest", public[3].pixels),  # with another label it is still the same image
        MiniRow(private[2].label, "PrivateTest", private[2].pixels),
        MiniRow(training[0].label, "Training", training[0].pixels),  # a repeat within Training is not a leak
    ]
    dataset = load_dataset(write_csv(tmp_path / "fer2013.csv", csv_bytes(rows)), cache=False)
    # 14 rows each, and then the repeats.
    assert leak_free_test(dataset, "PublicTest").tolist() == list(range(2, 14))
    assert leak_free_test(dataset, "PrivateTest").tolist() == list(range(14))


def test_a_missing_class_has_no_ratio_and_empty_splits_are_fine(tmp_path: Path) -> None:
    rows = [row for row in mini_rows(**TINY) if row.usage == "Training" and row.label != 1]
    report = audit_of(write_csv(tmp_path / "fer2013.csv", csv_bytes(rows))).report()
    assert report.largest_to_smallest == dict.fromkeys(report.classes)
    assert report.classes["PublicTest"]["happy"] == 0


def test_almost_blank_counts_as_blank_and_a_dark_face_does_not(tmp_path: Path) -> None:
    shades = [(0, 0), (127, 130), (255, 255), (0, 35)]
    rows = [
        MiniRow(0, "Training", np.linspace(low, high, 144).astype(np.uint8).reshape(12, 12)) for low, high in shades
    ]
    assert audit_of(write_csv(tmp_path / "fer2013.csv", csv_bytes(rows))).report().blank == 3


def test_the_known_faults_of_fer2013(real: Dataset) -> None:
    audit = Audit(real)
    report = audit.report()
    assert report.name == "fer2013"
    assert report.image_size == (48, 48)
    assert {split: sum(counts.values()) for split, counts in report.classes.items()} == {
        "Training": 28_709,
        "PublicTest": 3_589,
        "PrivateTest": 3_589,
    }
    assert (report.rows, report.distinct, report.duplicates) == (35_887, 34_034, 1_853)
    assert report.cross_split_groups == 557
    assert (report.private_in_training, report.public_in_training) == (288, 280)
    assert report.conflicting_groups == 57
    assert report.blank == 13
    assert report.rows_of_fer2013 == 35_887
    assert len(leak_free_training(real)) == 28_709 - report.training_rows_dropped == 28_006
    # Counted independently of this code, from the text of the CSV file.
    assert [len(leak_free_test(real, split)) for split in ("PublicTest", "PrivateTest")] == [3_267, 3_268]
    kinds = Counter(finding.kind for finding in audit.findings())
    assert kinds["duplicate"] == report.duplicates + report.duplicate_groups
    assert kinds["blank"] == 13
