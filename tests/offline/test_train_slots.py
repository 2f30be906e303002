"""The share of the places that cold items get is what their slots cost in the newest window."""

from dataclasses import replace

import numpy as np
import pytest

import builders
from recsys.candidates import Candidates
from recsys.interactions import Histories
from recsys.sources import PopularitySource
from recsys_offline.train import slots
from recsys_offline.train.training_set import Replay

QUERIES, WARM, COLD = 10, 25, 5
BLEND = np.array([[1, 0], [1, 0], [1, 0]], dtype=np.float32)
POPULAR = PopularitySource.of(np.zeros(WARM + COLD, dtype=np.float32))
RESERVED = np.array([False, True])


def replay(*bought: int) -> Replay:
    """Queries that all see the same: warm items 0 to 24 by stage 1, cold ones from 25 on by their own source."""
    n_items = WARM + COLD
    query, item = (column.ravel().astype(np.int32) for column in np.mgrid[:QUERIES, :n_items])
    warm = item < WARM
    score = np.stack([np.where(warm, WARM - item, 0), np.where(warm, 0, n_items - item)], axis=1).astype(np.float32)
    rank = np.stack([np.where(warm, item + 1, np.nan), np.where(warm, np.nan, item - WARM + 1)], axis=1)
    candidates = Candidates(query, item, score, rank.astype(np.float32), np.ones((QUERIES, 2), dtype=np.float32))
    batch = builders.batch(Histories.of(builders.events(), QUERIES, limit=1), 0, n_items)
    return Replay(batch, candidates, np.isin(item, bought), np.full(QUERIES, len(bought), dtype=np.int32))


@pytest.mark.parametrize(
    ("bought", "share"),
    [
        ((0, 1, WARM), slots.SHARES[0]),  # the best cold item is bought: the more slots the better
        ((0, 1, 2), slots.SHARES[0]),  # nobody misses what slots push out
        ((18,), slots.SHARES[1]),  # place 19 is left alone by one slot, pushed out by two
        ((19,), 0.0),  # the last place is what is bought
    ],
)
def test_the_largest_share_is_taken_that_costs_next_to_nothing(bought, share):
    assert slots.choose([replay(*bought)], BLEND, RESERVED, POPULAR, 0) == share
    assert slots.choose([replay(*bought)], BLEND, RESERVED, POPULAR, 0.02) == (share or 0.02)


def test_without_a_source_that_has_slots_there_is_nothing_to_choose():
    assert slots.choose([replay(0)], BLEND, np.zeros(2, dtype=bool), POPULAR, 0.02) == 0.02


def test_a_window_without_a_cold_proposal_tells_nothing_so_the_least_share_is_taken():
    warm = replay(0, 1)
    warm = replace(warm, candidates=warm.candidates.where(warm.candidates.item_num < WARM))
    warm = replace(warm, label=np.isin(warm.candidates.item_num, (0, 1)))
    assert slots.choose([warm], BLEND, RESERVED, POPULAR, 0.02) == 0.02
    assert slots.choose([warm, replay(0, 1)], BLEND, RESERVED, POPULAR, 0.02) == slots.SHARES[0]
