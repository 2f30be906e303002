"""What the windows of the past teach: which sources pay, their weights, what the ranker learns from, and its gain."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from recsys import features
from recsys.content_source import ContentSource, DescribedSource
from recsys.metrics import Truth, bootstrap_interval
from recsys.ranker import Ranker, TrainingSet
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, PopularitySource
from recsys.splits import Window
from recsys.types import Bools, Float32s, Float64s, Int32s, Int64s
from recsys_offline.train import blending, slots, snapshots, training_set, tune
from recsys_offline.train.job import Job
from recsys_offline.train.specs import Spec
from recsys_offline.train.steps import Steps
from recsys_offline.train.workers import workers

JUDGED_USERS = 2_000
JUDGE_GROUPS = 12_000
"""From which the ranker that is judged learns; the one that serves learns from all."""
TUNED_USERS = 1_000
WEIGHED_CUTS = 2
"""Newest windows that weigh the sources together."""
CONTENT = (Spec("described", "content", {}), Spec("content", "content", {}))
"""What is known of items by their attributes: always both, in this order, after all others."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the windows taught.

    Attributes:
        specs: the sources that pay, with their parameters.
        blend: float32[3, S], weights of stage 1, from the two newest windows.
        training: all windows' candidates, the newest window's first.
        newest: how many of them are the newest window's.
        window: the newest one.
        truth: what its users did.
        snapshot: of its cut.
    """

    specs: tuple[Spec, ...]
    blend: Float32s
    training: TrainingSet
    newest: int
    window: Window
    truth: Truth
    snapshot: Snapshot

    @property
    def earlier(self) -> TrainingSet:
        """The training set without the newest window, no copy."""
        whole, start = self.training, self.newest
        return TrainingSet(whole.features[start:], whole.label[start:], whole.group[start:])


@dataclass(frozen=True, slots=True)
class Judged:
    """How both stages did in the newest window.

    Attributes:
        stage_1: NDCG@20 of stage 1 for each user with something to find, the mean of the user's modes: float64[u].
        two_stage: the same of both stages, the ranker fitted on the older windows.
        slot_shares: of the places, for cold items, in each mode.
    """

    stage_1: Float64s
    two_stage: Float64s
    slot_shares: tuple[float, float]

    def metrics(self, seed: int) -> dict[str, float]:
        """How much the second stage adds."""
        low, high = bootstrap_interval(self.two_stage - self.stage_1, seed)
        return {
            "users": len(self.stage_1),
            "stage_1_ndcg@20": float(self.stage_1.mean()),
            "two_stage_ndcg@20": float(self.two_stage.mean()),
            "gain_low": low,
            "gain_high": high,
        }


def learn(job: Job, cuts: list[tuple[Window, Truth]], proposed: tuple[Spec, ...], steps: Steps) -> Learned:
    """Replay the windows, newest first: it chooses the sources, and weighs them together with the one before.

    Stage 1 is thus judged on what chose it, and the ranker is not: the ranker must win all the more clearly.
    """
    window, truth = cuts[-1]
    specs = _choose_specs(job, window, truth, proposed, steps)
    with workers(job.at_once) as pool:
        replayed = _fit_sources(pool, job, cuts[::-1], specs, steps)
        weighed = replayed[:WEIGHED_CUTS]
        with steps(f"Weigh the sources on {sum(min(len(whole), JUDGED_USERS) for _, whole, _ in weighed):,} users"):
            k = job.config.retrieval.candidates_per_source
            blend = blending.weigh(weighed, job.policies, job.setting.targets, k, JUDGED_USERS, job.at_once)
        paying = np.flatnonzero((blend > 0).any(axis=0) | _needed(replayed[0][2]))
        specs, blend = tuple(specs[column] for column in paying), blend[:, paying]
        kept = [(past, whole, _with_sources(snapshot, paying)) for past, whole, snapshot in replayed]
        with steps(f"Build features of {sum(len(whole) for _, whole, _ in kept):,} users"):
            targets, config = job.setting.targets, job.config
            building = [
                pool.submit(training_set.build, snapshot, whole, past, job.policies, targets, blend, config)
                for past, whole, snapshot in kept
            ]
            parts = [part.result() for part in building]
    return Learned(specs, blend, training_set.concatenate(parts), len(parts[0]), window, truth, kept[0][2])


def judge(job: Job, learned: Learned) -> Judged:
    """Fit the ranker on the older windows, and compare both stages in the newest one."""
    snapshot, blend, retrieval = learned.snapshot, learned.blend, job.config.retrieval
    asked, now = learned.truth.thinned(JUDGED_USERS), learned.window.now
    replays = [
        list(training_set.replay(snapshot, asked, now, policy, retrieval.candidates_per_source))
        for policy in job.policies
    ]
    fitted = job.fit_ranker(learned.earlier.thinned(JUDGE_GROUPS))
    scores = [
        _judge_replay(fitted, part, snapshot, blend, retrieval.candidates) for of_mode in replays for part in of_mode
    ]
    user, *both = (np.concatenate(column) for column in zip(*scores, strict=True))
    # A user who is asked for in two modes is one observation.
    stage_1, two_stage = (_mean_of_each(user, score) for score in both)
    popular = next(source for source in snapshot.sources if isinstance(source, PopularitySource))
    shares = list(slots.LEAST_SHARES)
    for mode in range(-len(replays), 0):  # where there is one mode, it is the last
        shares[mode] = slots.choose(replays[mode], blend, snapshot.reserved, popular, shares[mode])
    return Judged(stage_1, two_stage, (shares[0], shares[1]))


def _choose_specs(job: Job, window: Window, truth: Truth, proposed: tuple[Spec, ...], steps: Steps) -> tuple[Spec, ...]:
    """The proposed sources with the parameters that do best on the newest window."""
    if not any(spec.options for spec in proposed):
        return proposed
    asked = truth.thinned(TUNED_USERS)
    with steps(f"Tune the sources on {len(asked):,} users"):
        limit = job.config.train.max_history
        questions = tune.questions(window, asked, job.policies, job.setting.shape.users, limit)
        free = tuple(spec for spec in proposed if spec not in CONTENT)
        return *tune.settle(free, window, questions, job.asking(asked.user_num).setting), *proposed[len(free) :]


def _fit_sources(
    pool: Executor, job: Job, cuts: list[tuple[Window, Truth]], specs: tuple[Spec, ...], steps: Steps
) -> list[tuple[Window, Truth, Snapshot]]:
    """The windows with the snapshots of their cuts, each for the users of its truth."""
    with steps(f"Fit sources of {len(cuts)} windows"):
        beginning = [
            snapshots.begin(
                pool, past.past, past.now, specs, job.asking(whole.user_num).setting, has_times=job.has_times
            )
            for past, whole in cuts
        ]
        return [
            (past, whole, snapshots.indexed(pool, joined(), past.now, to_serve=False))
            for (past, whole), joined in zip(cuts, beginning, strict=True)
        ]


def _with_sources(snapshot: Snapshot, columns: Int64s) -> Snapshot:
    """The snapshot with some of its sources alone."""
    return replace(snapshot, sources=tuple(snapshot.sources[column] for column in columns))


def _needed(snapshot: Snapshot) -> Bools:
    """bool[S]: sources that stay without weight: popularity fills slates, content needs ALS."""
    content = (ContentSource, DescribedSource, AlsSource) if snapshot.reserved.any() else ()
    kinds = (PopularitySource, *content)
    return np.array([isinstance(source, kinds) for source in snapshot.sources])


def _judge_replay(
    fitted: Ranker, part: training_set.Replay, snapshot: Snapshot, blend: Float32s, limit: int
) -> tuple[Int32s, Float64s, Float64s]:
    """The users of queries with something to find, and NDCG@20 of stage 1 and of both stages for each."""
    best, score = part.best(blend, limit, snapshot.reserved)
    matrix = features.matrix(features.Context(best.batch, best.candidates, score, snapshot.stats))
    query, label, relevant = best.candidates.query_num, best.label, best.relevant
    return (
        best.batch.user_num[relevant > 0],
        blending.ndcg_of(query, score, label, relevant),
        blending.ndcg_of(query, fitted.score(matrix), label, relevant),
    )


def _mean_of_each(user: Int32s, value: Float64s) -> Float64s:
    """float64[u]: the mean of the values (float64[q]) of each user (int32[q])."""
    place = np.unique(user, return_inverse=True)[1]
    mean: Float64s = np.bincount(place, value) / np.bincount(place)
    return mean
