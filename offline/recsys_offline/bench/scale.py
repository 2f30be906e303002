"""A registry with a bundle of any number of users, for the serving benchmark; made once, then taken from a folder.

Sources, statistics and ranker are fitted by the code that trains every bundle, on a shop of at most 300,000 users. Each
user of the bundle has the history of one of those, and a vector close to that user's: every one has rows of its own in
the files, and no step holds them all in memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from recsys import features, manifest, ranker, splits
from recsys.config import AlsSection, Config, RankerSection
from recsys.errors import BundleError
from recsys.interactions import Events
from recsys.model import Model
from recsys.ranker import Ranker
from recsys.registry import Registry
from recsys.slate import Slots
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource
from recsys.types import SECONDS_PER_DAY, Float32s, Float64s
from recsys.vocabulary import Vocabulary
from recsys_offline.bench import multitude
from recsys_offline.bench.crowd import END, Wares, shop
from recsys_offline.catalogue import Catalogue
from recsys_offline.train import blending, content, slots, snapshots, training_set
from recsys_offline.train.describe import describe
from recsys_offline.train.factorise import Shape
from recsys_offline.train.fitting import Setting
from recsys_offline.train.learning import CONTENT
from recsys_offline.train.publish import publish
from recsys_offline.train.run import Trained
from recsys_offline.train.specs import Facts, propose
from recsys_offline.train.steps import Steps
from recsys_offline.train.workers import workers

SEED = 7
FITTED_USERS = 300_000
"""Users that the model is fitted on, at most."""
HORIZON_DAYS = 14
GROUPS, JUDGED = 5_000, 1_000
"""Users of the window after the cut: in all, and those of them that the ranker is judged on and does not learn from."""
TREES, DEPTH = 100, 6
N_STEPS = 6


@dataclass(frozen=True, slots=True)
class Size:
    """How large the bundle is: users, items, and factors of a vector."""

    users: int
    items: int
    factors: int

    @property
    def name(self) -> str:
        """The folder of such a bundle."""
        return f"{self.users}-users-{self.items}-items-{self.factors}-factors"


@dataclass(frozen=True, slots=True)
class Taught:
    """What the time after the cut taught: weights of the sources float32[3, S], the ranker, and what it gains."""

    blend: Float32s
    ranker: Ranker
    metrics: dict[str, float]


def registry_of(cache: Path, size: Size) -> Registry:
    """The registry of that size in a folder, made now where it is not there, or of another version or configuration."""
    registry = Registry(cache / size.name)
    if not _is_current(registry, size):
        steps = Steps(N_STEPS)
        try:
            _make(registry, size, steps)
        finally:
            steps.close()
    return registry


def _config(size: Size) -> Config:
    return Config(als=AlsSection(factors=size.factors), ranker=RankerSection(trees=TREES, depth=DEPTH))


def _is_current(registry: Registry, size: Size) -> bool:
    live = registry.live()
    if live is None:
        return False
    try:
        contents = manifest.read(registry.path(live))
    except BundleError:
        return False
    same_features = contents.feature_hash == features.feature_hash(tuple(contents.sources))
    return same_features and contents.parameters == _config(size).model_dump(mode="json")


def _make(registry: Registry, size: Size, steps: Steps) -> None:
    """Fit on few users, teach the ranker, multiply the users, publish."""
    random = np.random.default_rng(SEED)
    config = _config(size)
    n_users = min(size.users, FITTED_USERS)
    with steps(f"Draw a shop of {n_users:,} users"):
        wares = Wares.draw(random, size.items)
        catalogue, events = wares.catalogue(random), shop(random, wares, n_users)
    setting = _setting(events, catalogue, Shape(n_users, n_users, size.items), config)
    window = splits.by_time(events, END, HORIZON_DAYS, 1, setting.targets)[0]
    with steps("Fit every source"):
        snapshot = _fitted(window.past, window.now, setting, size.users / n_users)
    with steps("Teach and judge the ranker"):
        taught = _taught(snapshot, window, setting)
    with steps("Choose indexes"), workers(1) as pool:
        snapshot = snapshots.indexed(pool, snapshot, window.now, to_serve=True)
    registry.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        with steps(f"Make {size.users:,} users"):
            snapshot = _multiplied(random, snapshot, size.users, Path(scratch))
        until = window.now
        latest = until + HORIZON_DAYS * SECONDS_PER_DAY
        kept = tuple(Slots(int(column), slots.LEAST_SHARES) for column in np.flatnonzero(snapshot.reserved))
        users, items = (Vocabulary(multitude.ids(*each)) for each in (("u", size.users), ("i", size.items)))
        model = Model(users, items, snapshot, taught.blend, taught.ranker, latest, kept, catalogue.attributes)
        trained = Trained(model, until, latest - until, setting.targets, taught.metrics, ())
        with steps("Publish"):
            facts = {"made_by": "recsys bench serve", "fitted_users": n_users, **asdict(size)}
            publish(registry, model, partial(describe, trained, facts, config, steps.done, int(time.time())))


def _setting(events: Events, catalogue: Catalogue, shape: Shape, config: Config) -> Setting:
    """What the fits share."""
    threads, targets = len(os.sched_getaffinity(0)), splits.target_types(events)
    return Setting(shape, config, threads, targets, content.describe(catalogue, config.content))


def _fitted(past: Events, now: int, setting: Setting, times: float) -> Snapshot:
    """Every source that a shop with so many times the users gets by default, with default parameters.

    None is left out for its weight.
    """
    facts = Facts.of(past, setting.shape.items, has_times=True, targets=setting.targets)
    facts = replace(facts, n_events=round(facts.n_events * times))
    specs = tuple(spec.settled() for spec in propose(facts, setting.config))
    return snapshots.fit(past, now, (*specs, *CONTENT), setting)


def _taught(snapshot: Snapshot, window: splits.Window, setting: Setting) -> Taught:
    """The second stage, judged on users that it has not seen."""
    config, shape = setting.config, setting.shape
    truth = training_set.window_truth(window, shape.users, shape.items, GROUPS, SEED)
    rest = max(len(truth) - JUDGED, len(truth) // 2)
    policies = training_set.modes(setting.targets)
    learned, judged = truth.slice(0, rest), truth.slice(rest, len(truth))
    k = config.retrieval.candidates_per_source
    blend = blending.weigh([(window, learned, snapshot)], policies, setting.targets, k, JUDGED)
    training = training_set.build(snapshot, learned, window, policies, setting.targets, blend, config)
    fitted = ranker.fit(training, config.ranker, SEED, setting.threads)
    parts = training_set.replay(snapshot, judged, window.now, policies[0], k)
    scores = [_judged(part, snapshot, blend, fitted, config.retrieval.candidates) for part in parts]
    stage_1, two_stage = (float(np.concatenate(column).mean()) for column in zip(*scores, strict=True))
    metrics = {"stage_1_ndcg@20": stage_1, "two_stage_ndcg@20": two_stage, "rows": float(len(training))}
    return Taught(blend, fitted, metrics)


def _judged(
    part: training_set.Replay, snapshot: Snapshot, blend: Float32s, fitted: Ranker, limit: int
) -> tuple[Float64s, Float64s]:
    """NDCG@20 of stage 1 and of both stages, of each query with something to find."""
    best, score = part.best(blend, limit, snapshot.reserved)
    matrix = features.matrix(features.Context(best.batch, best.candidates, score, snapshot.stats))
    of = partial(blending.ndcg_of, best.candidates.query_num, label=best.label, relevant=best.relevant)
    return of(score=score), of(score=fitted.score(matrix))


def _multiplied(random: np.random.Generator, snapshot: Snapshot, n_users: int, folder: Path) -> Snapshot:
    """The snapshot with so many users, each like one of those who have a history, drawn by chance."""
    drawn = random.choice(np.flatnonzero(np.diff(snapshot.histories.indptr)), n_users)
    sources = tuple(
        replace(source, user_factors=multitude.vectors(random, source.user_factors, drawn, folder / "user_factors.npy"))
        if isinstance(source, AlsSource)
        else source
        for source in snapshot.sources
    )
    return Snapshot(multitude.histories(snapshot.histories, drawn, folder), snapshot.stats, sources)
