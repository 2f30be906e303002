"""Retrieval in one call against the sources one by one: the same candidates, to the last bit."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.candidates import Candidates, merge, with_vectors
from recsys.content import ContentModel
from recsys.content_source import ContentSource, DescribedSource
from recsys.fetching import space
from recsys.halves import halved
from recsys.history_source_kernels import sum_up
from recsys.interactions import Histories
from recsys.item_blocks import ItemBlocks
from recsys.item_index import IndexChoice, ItemIndex
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.retriever import MOST_SIMILAR, Retriever
from recsys.snapshot import Snapshot
from recsys.source_kernels import Similar
from recsys.sources import CandidateSource, PopularitySource, Proposal, SimilaritySource
from recsys.spectral_source import SpectralSource
from recsys.types import EventType, ExcludePolicy


@dataclass(frozen=True)
class Outsider:
    """A source of which the compiled call knows nothing."""

    source: CandidateSource
    name: str = "outsider"

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        return self.source.propose(batch, k)


def further(known: Snapshot, random: np.random.Generator) -> list[CandidateSource]:
    """Sources that random small shops do not have: with likeness below 0, of another width, unknown, too many."""
    n = known.n_items
    opposed = sp.random_array((n, n), density=0.4, rng=random, format="csr", dtype=np.float32)
    # Of few different numbers, so that sums meet 0 and each other.
    opposed.data = random.integers(-2, 3, opposed.nnz).astype(np.float32)
    factors = halved(random.standard_normal((n, 5)))
    weights = np.ones(10)
    similar = SimilaritySource(opposed, weights, 1e9, "opposed")
    index = random.choice([ItemIndex.exact, searched])(factors)
    spectral = SpectralSource(factors, np.ones(n, np.float32), weights, 30.0, index)
    flat = PopularitySource.of(np.ones(n, dtype=np.float32))
    return [
        similar,
        replace(similar, name="again"),
        replace(similar, name="too many"),
        spectral,
        Outsider(similar),
        flat,
    ]


def searched(factors: np.ndarray) -> ItemIndex:
    """An index that searches blocks, however few they are."""
    return ItemIndex(IndexChoice("Flat", 0, 1.0, 1), factors, ItemBlocks.of(factors))


def histories(items: list[int]) -> Histories:
    """Of users who have seen one item each."""
    n = len(items)
    seen = np.full(n, EventType.VIEW_ITEM, dtype=np.int8)
    columns = (seen, np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.float32), np.zeros(n, dtype=np.int32))
    return Histories(np.arange(n + 1), np.array(items, dtype=np.int32), *columns)


def one_by_one(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int) -> Candidates:
    batch = with_vectors(sources, batch)
    proposals = [source.propose(batch, k) for source in sources]
    return merge(proposals, batch, builders.proposed_keys(proposals, batch))


@st.composite
def asked(draw: st.DrawFn) -> tuple[tuple[CandidateSource, ...], QueryBatch, int, np.random.Generator]:
    shop = worlds.world(seed=draw(st.integers(0, 1000)), n_users=9, n_items=draw(st.integers(8, 40)), n_events=150)
    known, random = worlds.snapshot(shop, factors=3), np.random.default_rng(draw(st.integers(0, 1000)))
    als = known.sources[0]
    if draw(st.booleans()):
        als = replace(als, index=searched(als.item_factors))
    if draw(st.booleans()):  # as they are served
        als = replace(als, user_factors=als.user_factors.astype(np.float16))
    cold = np.sort(random.choice(known.n_items, 4, replace=False)).astype(np.int32)
    unmapped = ContentModel(None, np.zeros((1, 3), np.float32), 0.0)
    by_als = [als, DescribedSource(als, halved(random.standard_normal((known.n_items, 3))))]
    by_als += [ContentSource(als, cold[: random.integers(0, 5)], unmapped)]
    sources = [*by_als, *known.sources[1:], *further(known, random)]
    sources = tuple(sources[at] for at in draw(st.permutations(range(len(sources))))[: draw(st.integers(1, 9))])
    users = np.array(draw(st.lists(st.integers(-1, 8), min_size=1, max_size=20)), dtype=np.int32)
    policies = draw(st.lists(st.sampled_from(ExcludePolicy), min_size=len(users), max_size=len(users)))
    histories = known.histories.rows(np.where(users < 0, random.integers(0, 9), users))
    batch = builders.batch(histories, shop.until, known.n_items, users, policies)
    if draw(st.booleans()):  # of so few items that all are looked at
        batch = replace(batch, allowed_items=random.random(known.n_items) < 0.6)
    return sources, batch, draw(st.sampled_from([1, 3, 10, 60])), random


@settings(max_examples=80, deadline=None)
@given(asked())
def test_all_sources_in_one_call_find_what_they_find_one_by_one(world):
    sources, batch, k, _ = world
    wanted, found = one_by_one(sources, batch, k), Retriever(sources).retrieve(batch, k)
    for field in fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name), field.name)


@settings(max_examples=80, deadline=None)
@given(asked(), st.integers(1, 40))
def test_the_candidates_for_stage_2_are_cut_in_the_same_call(world, limit):
    sources, batch, k, random = world
    weights = random.random((3, len(sources))).astype(np.float32)
    reserved = random.random(len(sources)) < 0.2
    wanted, blend = one_by_one(sources, batch, k).leading(weights, batch.mode, limit, reserved)
    found, own = Retriever(sources).leading(batch, k, weights, limit, reserved)
    for field in fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name), field.name)
    np.testing.assert_array_equal(own, blend)


@settings(max_examples=20, deadline=None)
@given(asked())
def test_nothing_is_left_behind_for_the_next_query(world):
    sources, batch, k, _ = world
    Retriever(sources).retrieve(batch, k)
    left = space(batch.n_items)
    assert not left.slots.any()
    assert not left.sums.any()
    assert not left.places.any()


def test_of_many_similar_items_the_best_come_first_whatever_their_magnitude():
    n, k = 3_000, 100
    random = np.random.default_rng(3)
    alike = np.exp(random.normal(-20, 15, n)).astype(np.float32)
    alike[::7] = alike[0]
    near = sp.csr_array((alike, (np.zeros(n, dtype=int), np.arange(n))), shape=(n, n))
    source = SimilaritySource(near, np.ones(10), 1e9)
    batch = builders.batch(histories([0]), 0, n)
    for most in (k, MOST_SIMILAR, 1_000):
        wanted, found = one_by_one((source,), batch, most), Retriever((source,)).retrieve(batch, most)
        np.testing.assert_array_equal(found.item_num, wanted.item_num)
        np.testing.assert_array_equal(found.rank, wanted.rank)


def test_numbers_of_items_begin_again_before_they_are_too_large():
    n = 40
    near = sp.random_array((n, n), density=0.5, rng=np.random.default_rng(5), format="csr", dtype=np.float32)
    sources = (SimilaritySource(near, np.ones(10), 1e9), PopularitySource.of(np.arange(n, dtype=np.float32)))
    batch, own = builders.batch(histories([0, 2, 3]), 0, n), space(n)
    wanted = Retriever(sources).retrieve(batch, 5)
    for before in (2**31 - 1, 2**31 - n, 2**31 - 1 - n):
        own.before[0], own.numbers[:] = before, before
        found = Retriever(sources).retrieve(batch, 5)
        np.testing.assert_array_equal(found.item_num, wanted.item_num)
        np.testing.assert_array_equal(found.score, wanted.score)
        assert own.before[0] < 2**31 - 1
    own.before[0], own.numbers[:] = 0, 0


def test_where_every_item_is_met_nothing_else_is_written_to():
    n = 6
    near = (np.array([0, n] + [n] * (n - 1)), np.arange(n, dtype=np.int32), np.ones(n, dtype=np.float32))
    source = Similar(0, np.ones(10), 1e9, *map(frozen, near))
    own, behind = space(n), np.full(9, -7, dtype=np.int32)
    met = np.concatenate([np.zeros(len(own.met), dtype=np.int32), behind])
    clean = {"numbers": np.zeros(n, np.int32), "before": np.zeros(1, np.int64), "sums": np.zeros_like(own.sums)}
    noted = own._replace(met=met[: len(own.met)], **clean)
    twice, weight = np.zeros(2, dtype=np.int32), np.ones(2, dtype=np.float32)
    assert sum_up(twice, weight, source, noted, 0, 0) == n
    assert noted.met[1 : n + 1].tolist() == list(range(n))
    assert noted.sums[0, 1 : n + 1].tolist() == [2.0] * n
    np.testing.assert_array_equal(met[len(own.met) :], behind)


def test_of_no_queries_nothing_is_found():
    shop = worlds.world()
    known, none = worlds.snapshot(shop), np.zeros(0, dtype=np.int32)
    als, *others = known.sources
    als = replace(als, index=searched(als.item_factors), user_factors=als.user_factors.astype(np.float16))
    batch = builders.batch(known.histories.rows(none), shop.until, known.n_items, none, [])
    assert len(Retriever((als, *others)).retrieve(batch, 9)) == 0


@pytest.mark.parametrize("excluded", [0, 5, 40])
def test_popular_items_are_those_that_are_not_excluded(excluded):
    popularity = np.arange(40, 0, -1).astype(np.float32)
    batch = builders.batch(histories([0, 1]), 0, 40)
    batch = replace(batch, excluded=np.arange(40, 40 + excluded))  # of the second query
    found = Retriever((PopularitySource.of(popularity),)).retrieve(batch, 10)
    own = found.item_num[found.query_num == 1]
    assert own.tolist() == list(range(excluded, min(excluded + 10, 40)))
    assert found.item_num[found.query_num == 0].tolist() == list(range(10))
