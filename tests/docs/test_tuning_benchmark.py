"""Laws of the benchmark of searches; no test judges the gain of a search."""

import numpy as np
import pytest

from benchmarks import tuning

SCORES = np.random.RandomState(0).normal(size=(12, 3))  # (candidates, folds)


def test_every_search_may_keep_the_default():
    candidates, pools = tuning.candidates(), tuning.pools()
    assert candidates[0] == {}
    assert all(0 in pool for pool in pools.values())
    assert set().union(*pools.values()) == set(range(len(candidates)))
    for name in tuning.ALONE:
        assert all(set(candidates[i]) == {name} for i in pools[name][1:])


@pytest.mark.parametrize("rule", tuning.RULES.values())
@pytest.mark.parametrize("default", range(6))
def test_no_pick_is_worse_than_the_default_on_the_inner_folds(rule, default):
    scores = np.roll(SCORES, default, axis=0)
    pick = rule(scores, range(12))
    assert scores[pick].mean() >= scores[0].mean()
    # Folds are paired: what one adds to all candidates does not matter.
    shifted = scores + np.array([100, 0, -5])
    assert rule(shifted, range(12)) == pick


def test_the_default_wins_ties():
    scores = np.zeros((2, 3))
    scores[1] = [2, 1, -1]  # a mean of 0.67, with a standard error of 0.88
    assert tuning.best(scores, [0, 1]) == 1
    assert tuning.clearly_best(scores, [0, 1]) == 0
    scores[1] = [2, 1, 0]  # 1 and 0.58
    assert tuning.clearly_best(scores, [0, 1]) == 1


def test_tables_count_alike():
    mean, error = tuning.over_tables({"a": [np.log(2)] * 5, "b": [np.log(8)]})
    assert mean == pytest.approx(4)
    assert error == pytest.approx(4 * np.log(2))
