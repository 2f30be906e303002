"""Cold items get the factors that their words stand for, as of the cut, and their own places in the slate."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import builders
from recsys import manifest
from recsys.als import Confidence
from recsys.config import ContentSection
from recsys.content import Attributes
from recsys.content_source import ContentSource, DescribedSource
from recsys.interactions import Histories
from recsys.item_index import ItemIndex
from recsys.queries import for_users
from recsys.registry import Registry
from recsys.retriever import retrieve
from recsys.sources import AlsSource
from recsys.types import EventType, ExcludePolicy, Query
from recsys_offline import dataset, directory
from recsys_offline.catalogue import Catalogue
from recsys_offline.importers import online_retail
from recsys_offline.tables import TableError
from recsys_offline.train import content
from shops import DAY, START, train, write

N_ITEMS, N_COLD, N_WORDS, FACTORS = 320, 20, 12, 8
CUT = 1_000


def linear_world(seed=3):
    """Items of three words each, whose factors are the sum of their words'; the last ones are cold, with factors 0."""
    random = np.random.default_rng(seed)
    words = np.array([random.choice(N_WORDS, 3, replace=False) for _ in range(N_ITEMS)])
    # Of numbers whose sums are of half precision too.
    meaning = (random.normal(size=(N_WORDS, FACTORS)) * 64).round().astype(np.float32) / 64
    truth = meaning[words].sum(axis=1)
    titles = tuple(" ".join(f"w{word}" for word in row) for row in words)
    catalogue = replace(Catalogue.empty(N_ITEMS), titles=titles)
    factors = truth.copy()
    factors[-N_COLD:] = 0
    users = random.normal(size=(10, FACTORS)).astype(np.float32)
    confidence = Confidence.of({EventType.PURCHASE: 1.0}, 1.0, 90.0, CUT)
    als = AlsSource(factors, users, np.eye(FACTORS, dtype=np.float32), confidence, ItemIndex.exact(factors))
    rows = [(0, item, EventType.PURCHASE, time) for time in range(100) for item in range(N_ITEMS - N_COLD)]
    return catalogue, als, builders.events(*rows), truth


def fitted(catalogue, als, events, now=CUT, **section):
    section = ContentSection(**section)
    mapped, _, source = content.fit(als, content.describe(catalogue, section), events, now, section, seed=1)
    return mapped, source


def described(catalogue, als, events):
    section = ContentSection()
    return content.fit(als, content.describe(catalogue, section), events, CUT, section, seed=1)[1]


def proposed(source, n_users=10):
    histories = Histories.of(builders.events(), n_users, limit=1)
    batch = for_users(histories, np.arange(n_users, dtype=np.int32), CUT, N_ITEMS, ExcludePolicy.NONE)
    return retrieve((source,), batch, 100)


def test_a_cold_item_gets_the_factors_of_its_words():
    catalogue, als, events, truth = linear_world()
    mapped, source = fitted(catalogue, als, events)
    assert source.item_num.tolist() == list(range(N_ITEMS - N_COLD, N_ITEMS))
    cold = mapped.item_factors[-N_COLD:]
    near = np.array([np.corrcoef(mine, its)[0, 1] for mine, its in zip(cold, truth[-N_COLD:], strict=True)])
    assert near.min() > 0.9
    np.testing.assert_array_equal(mapped.item_factors[:-N_COLD], als.item_factors[:-N_COLD])
    scores = als.user_factors @ cold.T
    candidates = proposed(source)
    for user in range(10):
        own = candidates.query_num == user
        first = candidates.item_num[own][np.argsort(candidates.rank[own, 0])]
        np.testing.assert_allclose(scores[user][first - (N_ITEMS - N_COLD)], np.sort(scores[user])[::-1], atol=1e-4)


def test_every_item_is_scored_by_what_its_words_stand_for_and_none_is_proposed():
    catalogue, als, events, truth = linear_world()
    odd = als.item_factors.copy()
    odd[0] = -truth[0]  # bought by others than its words would have it
    source = described(catalogue, replace(als, item_factors=odd), events)
    histories = Histories.of(builders.events(), 10, limit=1)
    batch = for_users(histories, np.arange(10, dtype=np.int32), CUT, N_ITEMS, ExcludePolicy.NONE)
    proposal = source.propose(batch, 100)
    assert (proposal.item_num == -1).all()
    query, item = (part.ravel() for part in np.indices((10, N_ITEMS)))
    score = builders.score_of(proposal, query, item).reshape(10, N_ITEMS)
    wanted = als.user_factors @ truth.T
    assert min(np.corrcoef(score[user], wanted[user])[0, 1] for user in range(10)) > 0.95
    assert np.corrcoef(score[:, 0], wanted[:, 0])[0, 1] > 0.9, "the words count, not what its own buyers say"


def test_nothing_is_said_of_an_item_without_attributes():
    catalogue, als, events, _ = linear_world()
    source = described(replace(catalogue, titles=("", *catalogue.titles[1:])), als, events)
    assert not source.factors[0].any()
    assert source.factors[1:].any(axis=1).all()


def test_the_map_of_the_bundle_gives_an_item_that_comes_later_the_same_factors():
    catalogue, als, events, _ = linear_world()
    mapped, source = fitted(catalogue, als, events)
    title, price = catalogue.titles[-1:], np.full(1, np.nan, dtype=np.float32)
    vectors = source.model.encoder.encode(Attributes(title, [""], [""], price, np.zeros((1, 0), np.float32)))
    np.testing.assert_allclose(source.model.factors(vectors)[0], mapped.item_factors[-1], atol=1e-5)


def test_an_item_created_after_the_cut_is_not_there_and_moves_nothing():
    catalogue, als, events, _ = linear_world()
    created = np.zeros(N_ITEMS, dtype=np.int64)
    created[-3:] = CUT
    mapped, source = fitted(replace(catalogue, created_time=created), als, events)
    assert source.item_num.tolist() == list(range(N_ITEMS - N_COLD, N_ITEMS - 3))
    assert not mapped.item_factors[-3:].any()
    renamed = (*catalogue.titles[:-3], "w0 w0 w0", "w0 w1", "w0")
    other, _ = fitted(replace(catalogue, created_time=created, titles=renamed), als, events)
    np.testing.assert_array_equal(other.item_factors, mapped.item_factors)


def test_an_item_with_enough_interactions_is_not_cold():
    catalogue, als, events, _ = linear_world()
    cold = N_ITEMS - N_COLD
    rows = [(0, cold, EventType.VIEW_ITEM, 1), (0, cold + 1, EventType.IMPRESSION, 1)]
    later = builders.events(*rows)
    both = [np.concatenate(columns) for columns in zip(*map(columns_of, (later, events)), strict=True)]
    _, source = fitted(catalogue, als, type(events)(*both))
    assert source.item_num.tolist() == list(range(cold + 1, N_ITEMS))
    _, source = fitted(catalogue, als, type(events)(*both), cold_below=2)
    assert source.item_num.tolist() == list(range(cold, N_ITEMS))


def columns_of(events):
    return [getattr(events, name) for name in events.__slots__]


def test_an_item_of_which_nothing_is_known_is_not_proposed():
    catalogue, als, events, _ = linear_world()
    _, source = fitted(replace(catalogue, titles=(*catalogue.titles[:-1], "")), als, events)
    assert N_ITEMS - 1 not in source.item_num


def test_without_attributes_there_is_nothing_to_describe():
    assert content.describe(Catalogue.empty(5), ContentSection()) is None
    catalogue, *_ = linear_world()
    assert content.describe(catalogue, ContentSection(terms=0)) is None


def test_without_a_cold_item_the_source_stays_silent():
    catalogue, als, *_ = linear_world()
    warm = [(0, item, EventType.PURCHASE, 1) for item in range(N_ITEMS)]
    mapped, source = fitted(catalogue, als, builders.events(*warm))
    assert mapped is als
    assert len(proposed(source)) == 0


TRIBE_WORDS = (("red", "crimson", "ruby"), ("blue", "navy", "azure"))


def tribal_shop(path):
    """Two tribes that buy what their own words describe, and of each tribe six items that nobody bought yet."""
    random = np.random.default_rng(4)
    rows = []
    for user in range(200):
        for visit in range(6):
            item = int(random.integers(40)) * 2 + user % 2
            rows.append((f"u{user}", f"i{item:02}", "purchase", START + (visit * 7 + user % 7) * DAY + user))
    write(path, sorted(rows, key=lambda row: row[3]))
    ids = [*(f"i{item:02}" for item in range(80)), *(f"new{item:02}" for item in range(12))]
    titles = [f"{random.choice(TRIBE_WORDS[place % 2])} {random.choice(['cup', 'tea', 'box'])}" for place in range(92)]
    events = pa.parquet.read_table(path / "events.parquet")
    directory.write(path, events, pa.table({"item_id": ids, "title": titles}))
    return path


@pytest.fixture(scope="module")
def tribal(tmp_path_factory):
    root = tmp_path_factory.mktemp("tribal")
    sections = {"als": {"factors": 8, "alpha": 3.0, "regularization": 5.0}, "content": {"slot_share": 0.1}}
    return train(tribal_shop(root / "shop"), root / "registry", **sections), root


def slate(recommender, size, **asked):
    answer = recommender.answer([Query(slate_size=size, now=recommender.until, **asked)], lambda: 0.0)
    assert answer.errors == ()
    return answer.slates[0].items


def test_users_and_visitors_find_new_items_of_their_own_tribe_in_the_kept_places(tribal):
    recommender, _ = tribal
    for tribe in (0, 1):
        for asked in ({"user_id": f"u{10 + tribe}"}, {"user_id": "", "seed_item_ids": (f"i{tribe:02}",)}):
            items = slate(recommender, 20, **asked)
            assert len(items) == 20
            assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)
            new = [place for place, item in enumerate(items, start=1) if item.item_id.startswith("new")]
            assert sum(place <= 10 for place in new) >= 1
            assert len(new) >= 2
            kept = [item for item in items if item.item_id.startswith("new")][:2]
            assert all(int(item.item_id[3:]) % 2 == tribe and "content" in item.sources for item in kept)


def test_the_loaded_source_is_the_one_that_was_saved(tribal):
    recommender, root = tribal
    registry = Registry(root / "registry")
    told = manifest.read(registry.path(registry.live()))
    assert told.slots == {"content": (0.1, 0.1)}
    assert any(line.startswith("content: 12 cold items, ") for line in told.choices)
    told_of, loaded = recommender.model.snapshot.sources[-2:]
    assert isinstance(loaded, ContentSource)
    assert isinstance(told_of, DescribedSource)
    np.testing.assert_allclose(told_of.factors[loaded.item_num], loaded.als.item_factors[loaded.item_num], atol=1e-6)
    assert told_of.factors.any(axis=1).all()
    items = recommender.model.items
    assert items.ids(loaded.item_num) == [f"new{item:02}" for item in range(12)]
    described = Attributes(["red cup"], [""], [""], np.full(1, np.nan, np.float32), np.zeros((1, 0), np.float32))
    assert loaded.model.factors(loaded.model.encoder.encode(described)).any()


def test_where_nothing_can_be_judged_what_attributes_say_has_no_say(tmp_path):
    path = write(tmp_path / "shop", [(f"u{num % 7}", f"i{num % 50}", "purchase", START) for num in range(300)])
    items = pa.table(
        {"item_id": [f"i{item}" for item in range(50)], "title": [f"cup {item % 3}" for item in range(50)]}
    )
    directory.write(path, pa.parquet.read_table(path / "events.parquet"), items)
    model = train(path, tmp_path / "registry", als={"factors": 4}, split={"horizon_days": 1.0}).model
    weight = dict(zip(model.snapshot.source_names, model.blend.T.tolist(), strict=True))
    assert model.ranker is None
    assert weight["described"] == weight["content"] == [0, 0, 0]
    assert weight["als"] == [1, 1, 1]


def write_invoices(path, until):
    """Sixty items that forty customers buy; before the end 77777 is only sent back, and 99999 is unheard of."""
    random, sold = np.random.default_rng(6), [f"{num}" for num in range(10_000, 10_060)]
    lines = [(f"{visit}", random.choice(sold), 1, f"{visit % 40}", START + visit * DAY // 8) for visit in range(480)]
    lines += [("C900", "77777", -1, "3", until - DAY), ("901", "77777", 1, "3", until + DAY)]
    lines += [(f"{visit}", "99999", 1, f"{visit % 40}", until + visit) for visit in range(1000, 1040)]
    rows = [
        f"{invoice},{code},{random.choice(['RED', 'BLUE'])} CUP,{count},{np.datetime64(time, 's')},2.5,{customer},UK"
        for invoice, code, count, customer, time in lines
    ]
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    path.write_text("\n".join((header, *rows)))
    return path


def test_an_item_first_sold_after_the_end_of_the_data_is_neither_known_nor_proposed(tmp_path):
    until = START + 60 * DAY
    online_retail.run(write_invoices(tmp_path / "retail.csv", until), tmp_path / "shop")
    sections = {"als": {"factors": 8, "alpha": 3.0, "regularization": 5.0}, "content": {"slot_share": 0.1}}
    recommender = train(tmp_path / "shop", tmp_path / "registry", until, **sections)
    items = recommender.model.items
    assert items.nums(["99999"]).tolist() == [-1]
    known = set(items.ids(np.arange(len(items))))
    assert len(known) == 61
    for user in range(40):
        shown = {item.item_id: item.sources for item in slate(recommender, 70, user_id=f"{user}")}
        assert set(shown) == known
        assert "content" not in shown["77777"], "what was sent back before the end is known, and not new"


def test_embeddings_of_different_lengths_are_refused_with_the_row(tmp_path):
    path = write(tmp_path / "shop", [("u", f"i{item}", "purchase", START) for item in range(3)])
    events = pa.parquet.read_table(path / "events.parquet")

    def with_items(embedding):
        items = pa.table({"item_id": ["i0", "i1", "i2"], "embedding": embedding})
        directory.write(path, events, items)
        return dataset.read(path).catalogue.embedding

    np.testing.assert_array_equal(with_items([[1.0, 2.0], None, [0.5, 0.0]]), [[1, 2], [0, 0], [0.5, 0]])
    with pytest.raises(TableError, match="row 3: embedding of 1 numbers, where row 1 has 2; give every item as many"):
        with_items([[1.0, 2.0], None, [0.5]])
    with pytest.raises(TableError, match="row 2: embedding holds what is no finite number"):
        with_items([[1.0, 2.0], [np.nan, 1.0], None])
    with pytest.raises(TableError, match="holds no lists of numbers"):
        with_items(["a", "b", "c"])
