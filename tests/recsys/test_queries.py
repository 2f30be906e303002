"""What is kept out of a slate."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys.interactions import Histories
from recsys.queries import contains, exclusions, for_users
from recsys.types import EventType, ExcludePolicy

VIEW, BUY = EventType.VIEW_ITEM, EventType.PURCHASE
N_ITEMS = 6
HISTORIES = Histories.of(builders.events((0, 1, VIEW, 1), (0, 2, BUY, 2), (1, 2, VIEW, 3), (1, 5, BUY, 4)), 3, limit=9)


def excluded(policy: ExcludePolicy, further=None) -> list[set[int]]:
    batch = builders.batch(HISTORIES, 9, N_ITEMS, policies=[policy] * 3, further=further)
    pairs = [np.array(column).ravel() for column in np.mgrid[:3, :N_ITEMS]]
    out = ~batch.allowed(*pairs)
    return [set(pairs[1][out & (pairs[0] == query)].tolist()) for query in range(3)]


def test_each_policy_keeps_out_what_its_name_says():
    assert excluded(ExcludePolicy.NONE) == [set(), set(), set()]
    assert excluded(ExcludePolicy.PURCHASED) == [{2}, {5}, set()]
    assert excluded(ExcludePolicy.SEEN) == [{1, 2}, {2, 5}, set()]


def test_a_query_keeps_out_what_it_names_and_no_other_query_does():
    further = [np.array(items, dtype=np.int32) for items in ([], [0, 0, 5], [3])]
    assert excluded(ExcludePolicy.PURCHASED, further) == [{2}, {0, 5}, {3}]


def test_what_is_kept_out_for_several_reasons_is_one_key_and_the_keys_rise():
    twice = Histories.of(builders.events((0, 4, VIEW, 1), (0, 4, BUY, 2), (1, 3, VIEW, 3), (1, 1, VIEW, 4)), 2, limit=9)
    further = [np.array(items, dtype=np.int32) for items in ([5, 4, 5], [3, 0])]
    assert exclusions(twice, [ExcludePolicy.SEEN] * 2, N_ITEMS, further).tolist() == [4, 5, 6, 7, 9]
    assert exclusions(twice, [ExcludePolicy.NONE] * 2, N_ITEMS, further).tolist() == [4, 5, 6, 9]


def test_policies_may_differ_inside_a_batch():
    policies = [ExcludePolicy.SEEN, ExcludePolicy.NONE, ExcludePolicy.SEEN]
    assert exclusions(HISTORIES, policies, N_ITEMS).tolist() == [1, 2]


def test_the_most_exclusions_of_one_query_are_counted_and_not_those_of_the_batch():
    batch = builders.batch(HISTORIES, 9, N_ITEMS, policies=[ExcludePolicy.SEEN] * 3)
    assert batch.most_excluded() == 2
    assert builders.batch(HISTORIES, 9, N_ITEMS).most_excluded() == 0


def test_queries_of_known_users_bring_their_histories():
    batch = for_users(HISTORIES, np.array([1, -1, 0], dtype=np.int32), 9, N_ITEMS, ExcludePolicy.PURCHASED)
    assert np.diff(batch.history.indptr).tolist() == [2, 0, 2]
    assert batch.excluded.tolist() == [5, 2 * N_ITEMS + 2]
    assert batch.discovery.all()
    assert not for_users(HISTORIES, np.array([0], dtype=np.int32), 9, N_ITEMS, ExcludePolicy.NONE).discovery.any()


def test_whose_vector_is_folded_in_is_weighed_as_a_visit_whatever_is_kept_out():
    users = np.array([1, -1, 0], dtype=np.int32)
    for policy, mode in ((ExcludePolicy.NONE, 0), (ExcludePolicy.PURCHASED, 1), (ExcludePolicy.SEEN, 1)):
        assert for_users(HISTORIES, users, 9, N_ITEMS, policy).mode.tolist() == [mode, 2, mode]


def test_a_batch_of_nobody_excludes_nothing():
    batch = for_users(HISTORIES, np.zeros(0, dtype=np.int32), 9, N_ITEMS, ExcludePolicy.SEEN)
    assert (len(batch), len(batch.excluded)) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(-5, 20)), st.lists(st.integers(-6, 21)))
def test_contains_is_membership(members, keys):
    found = contains(np.array(sorted(members), dtype=np.int64), np.array(keys, dtype=np.int64))
    assert found.tolist() == [key in members for key in keys]
