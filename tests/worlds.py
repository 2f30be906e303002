"""Small shops whose truth is known, and models of them made of numpy alone: no training job, no `implicit`.

Users and items belong to tribes, and most of what a user does is done with items of the own tribe: there is something
to learn, and a test knows what a good slate looks like.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

import builders
from recsys import features, ranker
from recsys.als import Confidence, fold_in_histories
from recsys.catalogue import ItemCatalogue, TextColumn
from recsys.halves import halved
from recsys.interactions import Events, Histories
from recsys.item_index import ItemIndex
from recsys.item_stats import item_stats
from recsys.model import Model
from recsys.popularity import decayed_counts, type_weights
from recsys.queries import N_MODES, contains, for_users
from recsys.ranker import Ranker, TrainingSet
from recsys.recommender import Identity, Recommender
from recsys.retriever import retrieve
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, PopularitySource, RepeatsSource, SimilaritySource
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType, ExcludePolicy, Float32s
from recsys.vocabulary import Vocabulary

START = 1_700_006_400
"""A midnight, UTC."""
TRIBES = 4
ANONYMOUS = 10
HORIZON_DAYS = 14
WEIGHTS = {
    EventType.VIEW_ITEM: 1.0,
    EventType.SELECT_ITEM: 1.0,
    EventType.ADD_TO_CART: 3.0,
    EventType.ADD_TO_WISHLIST: 3.0,
    EventType.PURCHASE: 5.0,
}
SHARES = {
    EventType.VIEW_ITEM: 0.5,
    EventType.ADD_TO_CART: 0.1,
    EventType.PURCHASE: 0.25,
    EventType.REFUND: 0.05,
    EventType.SEARCH: 0.05,
    EventType.IMPRESSION: 0.05,
}


@dataclass(frozen=True, slots=True)
class World:
    """Events of users u00, u01, ... and of some anonymous sessions on items i00, i01, ...

    The last user never did anything, nobody touched the last item; user u and item i are of tribes u % 4 and i % 4.
    """

    users: Vocabulary
    items: Vocabulary
    events: Events
    until: int

    @property
    def has_times(self) -> bool:
        return self.until > 0


def world(
    seed: int = 1,
    n_users: int = 41,
    n_items: int = 61,
    n_events: int = 1500,
    days: int = 60,
    shares: dict[EventType, float] = SHARES,
    static: bool = False,
) -> World:
    random = np.random.default_rng(seed)
    user = random.integers(0, n_users - 1 + ANONYMOUS, n_events)
    user[user >= n_users - 1] += 1  # the last user is skipped; rows from n_users on are anonymous
    shelf = (n_items - 1) // TRIBES
    own = TRIBES * (shelf * random.random(n_events) ** 2).astype(np.int64) + user % TRIBES
    item = np.where(random.random(n_events) < 0.85, own, random.integers(0, n_items - 1, n_events))
    day = np.sort(random.integers(0, days, n_events))
    time = START + day * SECONDS_PER_DAY + np.sort(random.integers(0, 40_000, n_events))
    price = random.integers(1, 100, n_items).astype(np.float32)[item] + np.float32(0.99)
    return World(
        numbered("u", n_users),
        numbered("i", n_items),
        Events(
            user_num=user.astype(np.int32),
            item_num=item.astype(np.int32),
            event_type=random.choice(list(shares), n_events, p=list(shares.values())).astype(np.int8),
            time=np.zeros(n_events, np.int64) if static else np.sort(time),
            session_num=np.unique(user * days + day, return_inverse=True)[1].astype(np.int32),
            quantity=random.integers(1, 4, n_events).astype(np.float32),
            price=np.where(random.random(n_events) < 0.1, np.float32(np.nan), price),
        ),
        0 if static else START + days * SECONDS_PER_DAY,
    )


def numbered(letter: str, n: int) -> Vocabulary:
    """Ids in the order of their rows."""
    return Vocabulary.of(f"{letter}{num:0{len(str(n - 1))}}" for num in range(n))


def snapshot(shop: World, until: int | None = None, factors: int = 6) -> Snapshot:
    """Everything known before a time; the end of the world for None."""
    now = shop.until if until is None else until
    events = shop.events.before(now) if shop.has_times else shop.events
    n_users, n_items = len(shop.users), len(shop.items)
    histories = Histories.of(events, n_users, limit=1000)
    interactions = events.of_types(INTERACTION_TYPES)
    pairs = (interactions.user_num, interactions.item_num)
    matrix = sp.csr_array((np.ones(len(interactions), np.float32), pairs), shape=(n_users + ANONYMOUS, n_items))
    return Snapshot(
        histories,
        item_stats(events, n_items, now, shop.has_times),
        (
            als_source(matrix, histories, Confidence.of(WEIGHTS, 2.0, 90.0, now), factors),
            SimilaritySource(cosine(matrix, 15), type_weights(WEIGHTS), 30.0),
            PopularitySource.of(decayed_counts(events, n_items, WEIGHTS, now, 14.0)),
            RepeatsSource(type_weights({EventType.PURCHASE: 1.0}) > 0, 90.0),
        ),
    )


def context(shop: World, seed: int, k: int = 6) -> features.Context:
    """Every user asks in some mode, some with a new visit put before their history, or with nothing known of them."""
    known, random, n = snapshot(shop, factors=3), np.random.default_rng(seed), len(shop.users)
    seeds = [random.integers(0, known.n_items, random.integers(0, 3)).astype(np.int32) for _ in range(n)]
    history = known.histories.preceded_by(seeds, np.full(n, shop.until), EventType.VIEW_ITEM)
    history = history.where(~np.isin(history.row, random.integers(0, n, 2)))
    visits = random.integers(-2, 3, len(history.time)).astype(np.int32)  # several at once, as in two windows
    history = replace(history, session_num=visits)
    policies = list(random.choice(list(ExcludePolicy), n))
    batch = builders.batch(history, shop.until, known.n_items, policies=policies)
    batch = replace(batch, now=batch.now - random.integers(0, 4 * SECONDS_PER_DAY, n))  # clocks differ
    candidates = retrieve(known.sources, batch, k)
    blend = candidates.blend(np.ones((N_MODES, len(known.sources)), dtype=np.float32), batch.mode).round(1)
    return features.Context(batch, candidates, blend, known.stats)


def als_source(matrix: sp.csr_array, histories: Histories, confidence: Confidence, factors: int) -> AlsSource:
    """Item factors by singular value decomposition; user factors folded in, as ALS would leave them."""
    _, size, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    # A little noise, so that no two items tie: FAISS leaves open which of them comes first.
    noise = 0.01 * np.random.default_rng(0).normal(size=(matrix.shape[1], factors))
    item_factors = halved((right[:factors] * np.sqrt(size[:factors, None])).T + noise)
    gram = item_factors.T @ item_factors + np.eye(factors, dtype=np.float32)
    user_factors = fold_in_histories(item_factors, gram, histories, confidence)
    return AlsSource(item_factors, user_factors, gram, confidence, ItemIndex.exact(item_factors))


def cosine(matrix: sp.csr_array, neighbours: int) -> sp.csr_array:
    """float32 CSR[n_items, n_items]: the items whose users are most alike, none itself."""
    dense = matrix.toarray()
    near = dense.T @ dense / np.maximum(np.outer(*[np.linalg.norm(dense, axis=0)] * 2), 1)
    np.fill_diagonal(near, 0)
    weakest = np.sort(near, axis=1)[:, -neighbours:][:, :1]
    return sp.csr_array(np.where(near >= weakest, near, 0).astype(np.float32))


def fitted_ranker(shop: World, blend: Float32s) -> Ranker:
    """A few trees that saw what was bought in the two weeks before the end."""
    cut = shop.until - HORIZON_DAYS * SECONDS_PER_DAY
    past = snapshot(shop, cut)
    future = shop.events.between(cut, shop.until).of_types([EventType.PURCHASE])
    users = np.arange(len(shop.users), dtype=np.int32)
    batch = for_users(past.histories, users, cut, past.n_items, ExcludePolicy.NONE)
    candidates = retrieve(past.sources, batch, 20)
    truth = np.unique(batch.keys(future.user_num, future.item_num))
    label = contains(truth, batch.keys(candidates.query_num, candidates.item_num)).astype(np.float32)
    context = features.Context(batch, candidates, candidates.blend(blend, batch.mode), past.stats)
    training = TrainingSet(features.matrix(context), label, candidates.query_num)
    section = ranker.RankerSection(trees=12, depth=3, min_child_weight=0.1)
    fitted = ranker.fit(training, section, seed=1, threads=1)
    fitted.booster.set_param({"nthread": 1})
    return fitted


def model(shop: World, *, ranked: bool = True) -> Model:
    """Everything up to the end of the world; a static world has no windows to fit a ranker on."""
    known = snapshot(shop)
    blend = np.ones((N_MODES, len(known.sources)), dtype=np.float32)
    latest = shop.until + HORIZON_DAYS * SECONDS_PER_DAY if shop.has_times else 0
    fitted = fitted_ranker(shop, blend) if ranked and shop.has_times else None
    return Model(shop.users, shop.items, known, blend, fitted, latest)


def recommender(shop: World, bundle_id: str = "test", **changes: object) -> Recommender:
    """A recommender of the world; changes replace attributes of its model."""
    return Recommender(Identity(bundle_id, shop.until, shop.until), replace(model(shop), **changes))


def branded(plain: Recommender, **columns: object) -> Recommender:
    """The same with a catalogue, in which items are of brands b0, b1 and b2 in turns; columns replace its fields."""
    n = len(plain.model.items)
    fields = {"texts": {"brand": TextColumn.of([f"b{num % 3}" for num in range(n)])}, "numbers": {}, "flags": {}}
    catalogue = ItemCatalogue(**({**fields, "deleted": np.zeros(n, dtype=bool)} | columns))
    return Recommender(plain.identity, replace(plain.model, catalogue=catalogue))
