"""The bundle that the serving benchmark serves: a whole one, of as many users as wanted."""

import numpy as np
import pytest

from recsys import bundle, manifest
from recsys.interactions import Histories
from recsys.types import EventType, Query, ServedFrom
from recsys_offline.bench import exactness, multitude, scale
from recsys_offline.bench.crowd import DAYS, END, START, Wares, shop
from recsys_offline.bench.scale import Size

SIZE = Size(3_000, 400, 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry of more users than the model is fitted on."""
    before, scale.FITTED_USERS = scale.FITTED_USERS, 2_000
    yield scale.registry_of(tmp_path_factory.mktemp("scale"), SIZE)
    scale.FITTED_USERS = before


def test_a_shop_has_few_popular_items_few_busy_users_and_tastes():
    random = np.random.default_rng(3)
    wares = Wares.draw(random, 5_000)
    events = shop(random, wares, 20_000)
    per_user = np.bincount(events.user_num, minlength=20_000)
    per_item = np.sort(np.bincount(events.item_num, minlength=5_000))[::-1]
    assert 7 < per_user.mean() < 13
    assert np.median(per_user) < 0.7 * per_user.mean()
    assert per_user.max() > 100
    assert per_item[:50].sum() > 0.15 * len(events)
    assert (np.diff(events.time) >= 0).all()
    assert START <= events.time[0] < events.time[-1] < END == START + DAYS * 86_400
    # Two events of one user are of one cluster far more often than two of anybody.
    by_user = wares.cluster[events.item_num][np.argsort(events.user_num, kind="stable")]
    alike, shuffled = ((each[1:] == each[:-1]).mean() for each in (by_user, random.permutation(by_user)))
    assert alike > 1.5 * shuffled
    assert (events.event_type == EventType.PURCHASE).mean() > 0.05


def test_the_bundle_is_whole_and_every_user_has_a_slate_of_the_model(made):
    recommender = bundle.load(made.path(made.live()))
    contents = manifest.read(made.path(made.live()))
    assert (len(recommender.model.users), len(recommender.model.items)) == (3_000, 400)
    assert {"als", "item_similarity", "co_visitation", "popularity", "repeats", "touched", "content"} < {
        *contents.sources
    }
    assert contents.has_ranker
    assert len(recommender.model.ranker.booster.get_dump()) == scale.TREES
    assert contents.metrics["two_stage_ndcg@20"] > 0.05
    queries = [Query(f"u{user:08d}", 20, recommender.until) for user in (0, 1, 1_234, 2_999)]
    for slate in recommender.answer(queries, lambda: 0.0).slates:
        assert (len(slate.items), slate.served_from, slate.degraded) == (20, ServedFrom.MODEL, ())


def test_a_bundle_is_made_once_and_again_only_where_it_is_of_another_version_or_configuration(made, monkeypatch):
    folder = made.path(made.live())
    stamp = folder.stat().st_mtime_ns
    assert scale.registry_of(made.root.parent, SIZE).live() == folder.name
    assert folder.stat().st_mtime_ns == stamp
    assert scale._is_current(made, SIZE)
    assert not scale._is_current(made, Size(3_000, 400, 16))
    monkeypatch.setattr(scale.features, "feature_hash", lambda _: "another")
    assert not scale._is_current(made, SIZE)


def test_many_users_are_like_few_and_have_rows_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(multitude, "AT_ONCE", 3)
    few = Histories(
        np.array([0, 2, 3]),
        np.array([5, 6, 7], dtype=np.int32),
        np.array([1, 6, 1], dtype=np.int8),
        np.array([30, 20, 10]),
        np.array([1.0, 2.0, np.nan], dtype=np.float32),
        np.array([0, 0, 1], dtype=np.int32),
    )
    drawn = np.array([1, 0, 0, 1, 0])
    many = multitude.histories(few, drawn, tmp_path)
    assert [column.dtype for column in many.columns] == [column.dtype for column in few.columns]
    for row, of in enumerate(drawn):
        for found, given in zip(many.rows(np.array([row])).columns, few.rows(np.array([of])).columns, strict=True):
            np.testing.assert_array_equal(found, given)
    factors = np.array([[1.0, 0.0], [0.0, 2.0]], dtype=np.float16)
    vectors = multitude.vectors(np.random.default_rng(1), factors, drawn, tmp_path / "vectors.npy")
    assert (vectors.dtype, vectors.shape) == (np.float16, (5, 2))
    np.testing.assert_allclose(vectors, factors[drawn], atol=0.5)
    assert len(np.unique(vectors, axis=0)) == 5
    assert multitude.ids("u", 3).tolist() == [b"u00000000", b"u00000001", b"u00000002"]


def test_exact_search_has_nothing_to_change_where_the_index_is_exact(made):
    told = exactness.measure(made)
    assert told["bundle_id"] == made.live()
    assert told["indexes"]["als"]["recall"] == 1
    assert told["places_that_differ_from_exact"] == 0
