import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataError
from training.radiographs import LABELS, Radiograph, divide, fold, read_labels

rows = st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 30)), min_size=30, max_size=120).map(
    lambda pairs: [Radiograph(f"{i}.jpg", label, f"p{patient}", "s") for i, (label, patient) in enumerate(pairs)]
)


def patients(part):
    return {r.patient for r in part}


@given(rows, st.integers(0, 99))
def test_no_patient_is_in_two_parts_and_no_image_is_lost(radiographs, seed):
    division = divide(radiographs, seed, 0.2, 0.2)
    parts = (division.train, division.validation, division.test)
    assert sorted(r.file for part in parts for r in part) == sorted(r.file for r in radiographs)
    assert sum(len(patients(part)) for part in parts) == len(patients(radiographs))


@given(rows, st.integers(3, 6))
def test_a_cross_validation_tests_each_image_once_and_never_on_a_known_patient(radiographs, folds):
    divisions = fold(radiographs, 1, folds)
    assert Counter(r.file for d in divisions for r in d.test) == Counter(r.file for r in radiographs)
    for d in divisions:
        assert not patients(d.train) & patients(d.test)
        assert not patients(d.train) & patients(d.validation)
        assert not patients(d.validation) & patients(d.test)


def test_the_division_depends_on_the_seed_and_on_nothing_else():
    radiographs = [Radiograph(f"{i}.jpg", LABELS[i % 3], f"p{i}", "s") for i in range(60)]
    assert divide(radiographs, 5, 0.2, 0.2) == divide(list(radiographs), 5, 0.2, 0.2)
    assert divide(radiographs, 5, 0.2, 0.2) != divide(radiographs, 6, 0.2, 0.2)


_TIED = """
from training.radiographs import Radiograph, divide
rows = [Radiograph(f"{i}.jpg", ("Normal", "Pneumonia")[i % 2], f"p{i // 2 if i < 30 else i}", "s") for i in range(60)]
print([r.file for r in divide(rows, 5, 0.2, 0.2).test])
"""


def test_the_division_is_the_same_in_every_process_though_labels_are_equally_rare():
    """Python hashes text anew in each; a run that was resumed on another division would be tested on what it learnt."""
    divisions = {
        subprocess.run(
            [sys.executable, "-c", _TIED], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "2")
    }
    assert len(divisions) == 1


def test_a_rare_label_is_in_every_part():
    labels = ["Normal"] * 80 + ["COVID-19"] * 20
    division = divide([Radiograph(f"{i}", label, f"p{i}", "s") for i, label in enumerate(labels)], 1, 0.15, 0.15)
    for part in (division.train, division.validation, division.test):
        assert any(r.label == "COVID-19" for r in part)


def test_a_label_table_that_cannot_be_right_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("file,label,patient,source\n", encoding="utf-16")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path)
    table.write_text("file,label,patient,source\n", encoding="utf-8-sig")  # as spreadsheets write it
    with pytest.raises(DataError, match="no rows"):
        read_labels(tmp_path)
    table.write_text("file,label,patient,source\na.jpg,Fracture,p,s\n")
    with pytest.raises(DataError, match="line 2 has the unknown label"):
        read_labels(tmp_path)
    with pytest.raises(DataError, match="folds"):
        fold([], 1, 2)
