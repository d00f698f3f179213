"""Numbers as pictures: cells, bins, shades and bars, against loops."""

from __future__ import annotations

import json
from math import inf, nan, sqrt

import numpy as np
import pytest

from babytui import pictures
from babytui.pictures import BARS, SHADES


@pytest.mark.parametrize(("R", "C", "rows", "columns"), [(1, 1, 1, 1), (4, 6, 2, 3), (5, 7, 2, 3), (3, 2, 10, 10),
                                                        (100, 1, 7, 4), (10, 10, 10, 1)])
def test_cells(R, C, rows, columns):
    values = np.random.default_rng(0).standard_normal((R, C))
    down, across = pictures.edges(R, rows), pictures.edges(C, columns)
    assert down[0] == 0 and down[-1] == R and len(down) == min(rows, R) + 1
    assert np.diff(down).max() - np.diff(down).min() <= 1
    how = {"mean": np.mean, "max": np.max, "rms": lambda part: sqrt((part**2).mean())}
    for name, function in how.items():
        found = pictures.cells(values, rows, columns, name)
        assert found.shape == (min(rows, R), min(columns, C))
        for i in range(len(down) - 1):
            for j in range(len(across) - 1):
                part = values[down[i] : down[i + 1], across[j] : across[j + 1]]
                assert found[i, j] == pytest.approx(function(part))


def test_no_cells():
    assert pictures.cells(np.zeros((0, 5)), 3, 3).size == 0


def test_levels_and_shades():
    assert pictures.levels(np.array([0, 0.12, 0.13, 0.5, 1, 2, -1, nan, inf, -inf]), 0, 1, 5).tolist() == \
        [0, 0, 1, 2, 4, 4, 0, 0, 4, 0]
    assert pictures.levels(np.array([3.0, 3.0]), 3, 3, 5).tolist() == [0, 0]
    assert pictures.shaded(np.array([[0, 0.5], [1, 0.25]]), 0, 1, width=2) == ["  ▒▒", "██░░"]
    assert pictures.bars(np.linspace(0, 1, 9), 0, 1) == BARS and pictures.bars(np.array([]), 0, 1) == ""
    assert len(SHADES) == 5


def test_counts_that_are_not_nothing_show():
    assert pictures.counted(np.array([0, 1, 1000, 500])) == " ▁█▄" and pictures.counted(np.zeros(3)) == "   "


def test_a_summary():
    values = np.array([[0.0, 1.0, -2.0], [0.0, nan, 5.0]])
    found = pictures.summary("w", values, bins=7)
    good = [0.0, 1.0, -2.0, 0.0, 5.0]
    assert (found.shape, found.size, found.odd, found.low, found.high) == ((2, 3), 6, 1, -2.0, 5.0)
    assert found.mean == pytest.approx(0.8) and found.std == pytest.approx(np.std(good)) and found.zeros == 0.4
    assert found.counts == (1, 0, 2, 1, 0, 0, 1) and found.edges == pytest.approx(range(-2, 6))
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["min"], plain["max"], plain["not_finite"], plain["shape"]) == (-2.0, 5.0, 1, [2, 3])


@pytest.mark.parametrize("value", [0.0, 3.0, -1e30])
def test_a_summary_of_equal_values(value):
    found = pictures.summary("w", np.full(10, value, np.float32), bins=5)
    assert sum(found.counts) == 10 and found.counts[2] == 10 and found.std == 0 and found.edges[0] < found.edges[-1]


def test_a_summary_of_nothing_finite():
    for array in (np.zeros((0, 3)), np.full(4, nan)):
        found = pictures.summary("w", array, bins=3)
        assert (found.mean, found.counts, found.odd) == (0.0, (0, 0, 0), array.size)


def test_matrices_and_names():
    assert pictures.matrix(np.zeros(3)).shape == (1, 3) and pictures.matrix(np.zeros((2, 3, 4))).shape == (6, 4)
    assert pictures.matrix(5.0).shape == (1, 1)
    assert [one.name for one in pictures.summaries({"a": np.ones(2), "n": 3, "b": np.zeros((1, 1))})] == ["a", "b"]
    assert pictures.labelled(list("abcdefg"), 3) == ["a", "c", "e"] and pictures.labelled(list("ab"), 9) == ["a", "b"]
