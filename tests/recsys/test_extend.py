"""A model that learns of changed and of new items answers with them, and else as before."""

from dataclasses import replace

import numpy as np
import pytest

import worlds
from recsys.catalogue import ItemCatalogue, TextColumn
from recsys.catalogue_log import ItemChange
from recsys.content import Attributes, ContentModel, Encoder, count_tokens, inverse_frequency, ridge, vocabulary
from recsys.content_source import ContentSource, DescribedSource
from recsys.extend import changed, embedding_dimensions
from recsys.queries import N_MODES
from recsys.recommender import Identity, Recommender
from recsys.rules import AllOf, AnyOf, Flag, Pin, Range, Rules, WithinCategory
from recsys.slate import Slots
from recsys.sources import AlsSource
from recsys.types import ExcludePolicy, Query

SHOP = worlds.world()


def tribal_model(dimensions=0):
    """A model that knows items by the tribe in their titles, and has every other place for cold ones."""
    plain = worlds.model(SHOP, ranked=False)
    n_items = len(SHOP.items)
    titles = [f"tribe{num % worlds.TRIBES}" for num in range(n_items)]
    blank = [""] * n_items
    embedding = np.zeros((n_items, dimensions), np.float32)
    attributes = Attributes(titles, blank, blank, np.full(n_items, np.nan, np.float32), embedding)
    terms = vocabulary(attributes.tokens(), 10)
    counts = count_tokens(attributes.tokens(), terms)
    encoder = Encoder(terms, inverse_frequency(counts), dimensions)
    als = next(source for source in plain.snapshot.sources if isinstance(source, AlsSource))
    weights = ridge(encoder.encode(attributes), als.item_factors, np.ones(n_items), [0.1])[0]
    content = ContentSource(als, np.zeros(0, np.int32), ContentModel(encoder, weights, 0.1))
    mapped = content.model.factors(encoder.encode(attributes))
    sources = (*plain.snapshot.sources, DescribedSource(als, mapped), content)
    brand = TextColumn.of([f"b{num % 3}" for num in range(n_items)])
    return replace(
        plain,
        snapshot=replace(plain.snapshot, sources=sources),
        blend=np.ones((N_MODES, len(sources)), np.float32),
        slots=(Slots(len(sources) - 1, (0.5, 0.5)),),
        catalogue=replace(ItemCatalogue.empty(n_items), texts={"brand": brand}),
    )


@pytest.fixture(scope="module")
def model():
    return tribal_model()


def slate(model, user="u01", size=8, rules=Rules(), now=SHOP.until):  # noqa: B008 - frozen
    query = Query(user, size, now, rules=rules)
    answer = Recommender(Identity("b", SHOP.until, 0), model).answer([query], lambda: 0.0)
    assert not answer.errors
    return [item.item_id for item in answer.slates[0].items]


def upsert(item_id, **facts):
    return ItemChange(item_id, facts)


def test_a_new_item_is_in_the_slates_of_those_whose_taste_it_meets(model):
    new = changed(model, [upsert("fresh1", title="tribe1"), upsert("fresh2", title="tribe2")], 1)
    for user, item in (("u01", "fresh1"), ("u02", "fresh2"), ("u05", "fresh1")):
        items = slate(new, user)
        assert items[1] == item  # the first kept place
    assert len(slate(new, "", 70)) == len(SHOP.items) + 2
    assert slate(new, "", 70)[-2:] == ["fresh1", "fresh2"]


def test_what_is_said_of_a_new_item_is_what_is_said_of_one_with_its_title(model):
    new = changed(changed(model, [upsert("fresh1", title="tribe1")], 1), [upsert("fresh2", title="tribe2")], 2)
    source = next(each for each in new.snapshot.sources if isinstance(each, DescribedSource))
    assert len(source.factors) == len(SHOP.items) + 2
    np.testing.assert_allclose(source.factors[-2:], source.factors[[1, 2]], atol=1e-6)


def test_a_new_item_can_be_filtered_pinned_excluded_and_be_a_seed(model):
    new = changed(model, [upsert("fresh", title="tribe1", brand="new brand", price=3.0)], 1)
    assert slate(new, rules=Rules(AnyOf("brand", ("new brand",)))) == ["fresh"]
    assert slate(new, rules=Rules(AnyOf("item_id", ("fresh", "i07")))) in (["fresh", "i07"], ["i07", "fresh"])
    assert slate(new, rules=Rules(pins=(Pin("p", "fresh", 1),)))[0] == "fresh"
    query = Query("u01", 8, SHOP.until, exclude_item_ids=("fresh",))
    without = Recommender(Identity("b", SHOP.until, 0), new).answer([query], lambda: 0.0).slates[0]
    assert "fresh" not in [item.item_id for item in without.items]
    seeded = Recommender(Identity("b", SHOP.until, 0), new).answer(
        [Query("", 8, SHOP.until, seed_item_ids=("fresh",))], lambda: 0.0
    )
    assert not seeded.errors
    tribe = [int(item.item_id[1:]) % worlds.TRIBES for item in seeded.slates[0].items[:4]]
    assert tribe.count(1) >= 3


def test_other_items_keep_their_scores_when_new_ones_come(model):
    new = changed(model, [upsert("fresh", title="tribe1")], 1)
    for policy in ExcludePolicy:
        query = Query("u03", 20, SHOP.until, parameters=replace(Query("", 1, 0).parameters, exclude_policy=policy))
        before, after = (
            Recommender(Identity("b", SHOP.until, 0), each).answer([query], lambda: 0.0).slates[0].items
            for each in (model, new)
        )
        assert [item.item_id for item in after if item.item_id != "fresh"] == [item.item_id for item in before][:19]


def test_changes_of_attributes_are_in_force_and_the_rest_stays(model):
    first = changed(model, [upsert("i03", brand="other", price=5.0, vegan=True), upsert("i05", brand="")], 1)
    assert slate(first, rules=Rules(AnyOf("brand", ("other",)))) == ["i03"]
    assert slate(first, rules=Rules(AllOf((Range("price", 5, 5), Flag("vegan", value=True))))) == ["i03"]
    assert "i05" not in slate(first, size=70, rules=Rules(AnyOf("brand", ("b0", "b1", "b2", "other"))))
    assert len(slate(first, size=70, rules=Rules(AnyOf("brand", ("b0", "b1", "b2"))))) == len(SHOP.items) - 2
    brands = {brand: slate(first, size=70, rules=Rules(AnyOf("brand", (brand,)))) for brand in ("b0", "b2")}
    sooner = changed(first, [upsert("i04", brand="a brand that comes first in the alphabet")], 2)
    for brand, items in brands.items():
        assert slate(sooner, size=70, rules=Rules(AnyOf("brand", (brand,)))) == items
    second = changed(first, [upsert("i03", price=6.0, vegan=None, category="a>b")], 2)
    assert slate(second, rules=Rules(AnyOf("brand", ("other",)))) == ["i03"]
    assert slate(second, rules=Rules(Range("price", 5, 5))) == []
    assert slate(second, rules=Rules(Flag("vegan", value=True))) == []
    assert slate(second, rules=Rules(WithinCategory("a"))) == ["i03"]
    assert (second.catalogue.version, model.catalogue.version) == (2, 0)


def test_an_attribute_that_becomes_of_another_kind_is_no_longer_of_the_old_one(model):
    size = changed(model, [upsert("i03", size="XL"), upsert("i04", size="S")], 1)
    size = changed(size, [upsert("i03", size=44.0)], 2)
    assert slate(size, rules=Rules(AnyOf("size", ("XL", "S")))) == ["i04"]
    assert slate(size, rules=Rules(Range("size", 44, 44))) == ["i03"]


def test_what_is_sold_out_out_of_its_window_or_deleted_is_in_no_slate_until_it_comes_back(model):
    best = slate(model)[0]
    assert best not in slate(changed(model, [upsert(best, available=False)], 1), size=70)
    assert best not in slate(changed(model, [upsert(best, valid_until_time=float(SHOP.until))], 1), size=70)
    assert best in slate(changed(model, [upsert(best, valid_until_time=SHOP.until + 1.0)], 1), size=70)
    gone = changed(model, [ItemChange(best, deleted=True), ItemChange("nobody", deleted=True)], 1)
    assert best not in slate(gone, size=70)
    assert slate(gone, "", 1, Rules(pins=(Pin("p", best, 1),))) != [best]
    assert slate(changed(gone, [upsert(best)], 2)) == slate(model)
    assert len(gone.items) == len(model.items)


def test_an_item_without_words_or_a_bundle_without_content_takes_new_items_all_the_same(model):
    plain = worlds.model(SHOP, ranked=False)
    for each in (plain, model):
        new = changed(each, [upsert("bare"), upsert("odd", title="", embedding=[1.0, 2.0])], 1)
        assert slate(new, rules=Rules(pins=(Pin("p", "bare", 2),)))[1] == "bare"
        assert len(slate(new, size=70)) == len(SHOP.items) + 2


def test_the_embedding_of_a_new_item_counts_if_it_is_as_long_as_in_training():
    assert embedding_dimensions(worlds.model(SHOP, ranked=False)) == 0
    model = tribal_model(dimensions=3)
    assert embedding_dimensions(model) == 3
    new = changed(model, [upsert("fresh", embedding=[1.0, 0.0, 0.0]), upsert("odd", embedding=[1.0])], 1)
    assert len(slate(new, size=70)) == len(SHOP.items) + 2


def test_models_with_a_ranker_take_new_items_too():
    ranked = worlds.model(SHOP)
    new = changed(ranked, [upsert("fresh", price=2.0)], 1)
    assert slate(new, rules=Rules(pins=(Pin("p", "fresh", 3),)))[2] == "fresh"


def test_ids_that_come_later_have_the_rows_behind_and_the_others_keep_theirs():
    ids = worlds.numbered("i", 5).followed_by(["zz", "a"]).followed_by(["ü"])
    assert len(ids) == 8
    assert ids.ids(np.arange(8)) == ["i0", "i1", "i2", "i3", "i4", "zz", "a", "ü"]
    assert ids.nums(["a", "i3", "ü", "nobody", "zz"]).tolist() == [6, 3, 7, -1, 5]
    assert [ids.num(text) for text in ("a", "i3", "b")] == [6, 3, -1]
