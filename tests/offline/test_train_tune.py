"""Sources are judged by what they add to the sources before them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys import splits
from recsys.candidates import merge
from recsys.metrics import Truth
from recsys.queries import for_users
from recsys.sources import PopularitySource
from recsys.types import SECONDS_PER_DAY, EventType, ExcludePolicy
from recsys_offline.train import blending, training_set, tune
from recsys_offline.train.blending import Problem
from recsys_offline.train.training_set import labelled


def asked(seed: int, policy: ExcludePolicy = ExcludePolicy.NONE) -> tuple[tune.Question, tuple]:
    """A question of a world at a cut, nothing settled yet, and the sources fitted there."""
    shop = worlds.world(seed, n_events=600)
    cut = shop.until - worlds.HORIZON_DAYS * SECONDS_PER_DAY
    past = worlds.snapshot(shop, cut)
    future = shop.events.between(cut, shop.until).of_types([EventType.PURCHASE])
    future = future.where(future.user_num < len(shop.users))
    truth = Truth.of(future.user_num, future.item_num, len(shop.items))
    batch = for_users(past.histories, truth.user_num, cut, len(shop.items), policy)
    return tune.Question(batch, truth), past.sources


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.sampled_from(list(ExcludePolicy)))
def test_joining_one_by_one_is_the_blend_of_all(seed, policy):
    question, sources = asked(seed, policy)
    for source in sources:
        before = question
        question = question.joined_by(source)
        assert question.ndcg >= before.ndcg
    if not question.proposals:
        return
    proposed = builders.proposed_keys(question.proposals, question.batch)
    candidates = merge(question.proposals, question.batch, proposed)
    weights = np.array(question.weights, dtype=np.float32)
    np.testing.assert_array_equal(question.keys, question.batch.keys(candidates.query_num, candidates.item_num))
    np.testing.assert_allclose(question.blend, candidates.scaled @ weights, rtol=1e-4, atol=1e-4)
    # Ties of rounding may turn a rank; the mean hardly moves.
    whole = Problem.of([labelled(question.batch, question.truth, candidates)]).ndcg(weights)
    assert question.ndcg == pytest.approx(whole, abs=0.02)


def test_a_source_that_says_what_is_settled_already_changes_nothing():
    question, sources = asked(3)
    joined = question.joined_by(sources[0])
    assert joined.ndcg > 0
    assert joined.joined_by(sources[0]) is joined


def test_a_source_with_nothing_to_say_is_not_taken():
    question, sources = asked(3)
    silent = PopularitySource.of(np.zeros(question.batch.n_items, dtype=np.float32))
    joined = question.joined_by(sources[0])
    assert joined.joined_by(silent).proposals == joined.proposals


def test_all_windows_weigh_together_and_visits_have_weights_of_their_own():
    shop = worlds.world(5, n_events=900)
    bought = (EventType.PURCHASE,)
    policies = (ExcludePolicy.NONE, ExcludePolicy.PURCHASED)
    cuts = []
    for window in splits.by_time(shop.events, shop.until, worlds.HORIZON_DAYS, 2, bought):
        truth = training_set.window_truth(window, len(shop.users), len(shop.items), 100, 0)
        cuts.append((window, truth, worlds.snapshot(shop, window.now)))
    weights = blending.weigh(cuts, policies, bought, 20, 100)
    known = [
        [part for window, truth, past in cuts for part in training_set.replay(past, truth, window.now, policy, 20)]
        for policy in policies
    ]
    visits = [
        part
        for window, truth, past in cuts
        for part in training_set.replay_newcomers(past, truth, window, policies[-1], bought, 20, 100)
    ]
    assert len(cuts) == 2
    for mode, parts in enumerate([*known, visits]):
        np.testing.assert_array_equal(weights[mode], blending.search(parts))
        assert (parts[0].batch.mode == mode).all()
    assert not np.array_equal(weights[1], blending.search(known[1][:1])), "one window alone says something else"
