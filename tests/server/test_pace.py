"""What is learnt of how long batches take."""

import random

import pytest

from recsys_server.pace import Pace, RankingPace


def taught(batches, now=0.0):
    pace = Pace()
    for count in batches:
        pace.learn(count, 0.004 + 0.001 * count, now)
    return pace


@pytest.mark.parametrize("sizes", [range(1, 64), (1, 2), (8,), (60, 64)])
def test_a_batch_is_foretold_from_batches_like_it(sizes):
    numbers = random.Random(3)
    seen = numbers.choices([*sizes], k=400)
    pace = taught(seen)
    for count in sizes:
        assert pace.seconds(count, 0.0) == pytest.approx(0.004 + 0.001 * count, rel=0.1)


def test_what_a_large_batch_taught_is_known_after_many_small_ones():
    pace = taught([*range(1, 65)] * 5 + [1] * 1_000)
    assert pace.seconds(64, 0.0) == pytest.approx(0.068, rel=0.2)


def test_nothing_is_expected_of_a_new_pace_and_its_first_batch_is_believed():
    pace = Pace()
    assert pace.seconds(64, 0.0) == 0
    pace.learn(3, 0.03, 0.0)
    assert pace.seconds(3, 0.0) == pytest.approx(0.03, rel=0.1)


def test_a_bad_moment_is_forgotten_while_nothing_comes():
    pace = Pace()
    pace.learn(1, 10.0, 0.0)
    assert pace.seconds(1, 0.0) > 1
    assert pace.seconds(1, 60.0) < 0.01


@pytest.mark.parametrize("idle_seconds", [0.0, 60.0])
def test_one_hiccup_is_hardly_believed_and_a_lasting_change_soon_is(idle_seconds):
    pace = taught([1] * 50)
    pace.learn(1, 1.0, idle_seconds)
    assert pace.seconds(1, idle_seconds) < 0.025
    for _ in range(20):
        pace.learn(1, 0.1, idle_seconds)
    assert pace.seconds(1, idle_seconds) == pytest.approx(0.1, rel=0.1)


def test_no_pace_is_below_nothing():
    pace = taught([64] * 20)
    for _ in range(30):
        pace.learn(1, 0.0, 0.0)
    assert pace.seconds(1, 0.0) >= 0
    assert pace.seconds(64, 0.0) >= 0


def test_the_margin_is_as_wide_as_batches_differ():
    numbers = random.Random(3)
    steady, uneven = Pace(), Pace()
    for _ in range(300):
        steady.learn(8, 0.02, 0.0)
        uneven.learn(8, numbers.choice([0.01, 0.03]), 0.0)
    assert steady.at_most(8, 0.0) == pytest.approx(0.02, rel=0.02)
    assert uneven.at_most(8, 0.0) > 1.2 * uneven.seconds(8, 0.0)


def test_ranking_fewer_candidates_takes_its_share_whatever_was_ranked_lately():
    pace = RankingPace()
    for share in (1.0, 0.5, 0.0) * 30:
        stages = {"retrieve": 0.02, "featurise": 0.01 * share, "rank": 0.03 * share}
        pace.learn(10, share, sum(stages.values()), stages, 0.0)
    expected = {1.0: 0.06, 0.5: 0.04, 0.0: 0.02}
    for share, seconds in expected.items():
        assert pace.at_most(10, share, 0.0) == pytest.approx(seconds, rel=0.05)
