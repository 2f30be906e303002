"""The training job: windows replayed, ranker fitted and judged, everything fitted again up to the end."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from recsys import features, ranker, splits
from recsys.config import Config
from recsys.interactions import Events
from recsys.metrics import Truth, bootstrap_interval
from recsys.ranker import Ranker, TrainingSet
from recsys.recommender import Model
from recsys.snapshot import Snapshot
from recsys.splits import Window
from recsys.types import SECONDS_PER_DAY, EventType, Float32s, Float64s
from recsys_offline.as_of import as_of
from recsys_offline.dataset import Dataset
from recsys_offline.train import blending, snapshots, training_set
from recsys_offline.train.factorise import Shape
from recsys_offline.train.steps import Steps

N_STEPS = 4
"""Steps that every training has; each cut adds two."""
N_MODES = 2
JUDGED_USERS = 2_000
LEAST_CUTS = 2
"""One to learn from, one to judge on."""
NOT_JUDGED: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and what there is to say of its training.

    Attributes:
        model: what answers.
        until: end of the data, unix seconds; 0 in a static set.
        horizon_seconds: how far ahead the ranker learned to look.
        targets: event types that it predicts.
        metrics: stage 1 against both stages in the newest window; empty where too few users came back to judge.
    """

    model: Model
    until: int
    horizon_seconds: int
    targets: tuple[EventType, ...]
    metrics: dict[str, float]

    @property
    def verdict(self) -> str:
        """What a person should know of the second stage."""
        if not self.metrics:
            return "no ranker: too few users come back to learn from; more data or a longer split.horizon_days helps"
        kept = "used" if self.model.ranker is not None else "not used, as its gain may be nothing"
        ndcg = "stage 1 {stage_1_ndcg@20:.4f}, two-stage {two_stage_ndcg@20:.4f}".format(**self.metrics)
        gain = "gain {gain_low:+.4f} to {gain_high:+.4f}".format(**self.metrics)
        return f"ranker {kept}: NDCG@20 in the newest window: {ndcg}, {gain}"


@dataclass(frozen=True, slots=True)
class Job:
    """What all steps of one training share."""

    events: Events
    shape: Shape
    until: int
    has_times: bool
    config: Config
    threads: int
    targets: tuple[EventType, ...]

    def snapshot(self, events: Events, now: int) -> Snapshot:
        """Everything fitted on events before now."""
        return snapshots.fit(events, self.shape, now, self.config, self.threads, self.targets, self.has_times)

    def fit_ranker(self, training: TrainingSet) -> Ranker:
        """The second stage."""
        return ranker.fit(training, self.config.ranker, self.config.train.seed, self.threads)


@dataclass(frozen=True, slots=True)
class Learned:
    """What the windows taught.

    Attributes:
        blend: float32[2, S], weights of stage 1, from the newest window.
        parts: each window's training set, newest first.
        stage_1: NDCG@20 of stage 1 for each query of the newest window: float64[q].
        two_stage: the same of both stages, the ranker fitted on the older windows.
    """

    blend: Float32s
    parts: list[TrainingSet]
    stage_1: Float64s
    two_stage: Float64s


def train(dataset: Dataset, until: int | None, config: Config, steps: Steps) -> Trained:
    """A model of all events before ``until`` (unix seconds; None: all there are).

    Raises:
        DataError: there is no event before ``until``.
    """
    if until is not None and dataset.has_times:
        dataset = as_of(dataset, until)
    job = prepare(dataset, until, config)
    horizon = config.split.horizon_days or splits.horizon_days(job.events, job.targets, config.split.cuts)
    windows = (
        splits.by_time(job.events, job.until, horizon, config.split.cuts, job.targets)
        if job.has_times
        else splits.static(job.events, config.split.cuts, job.targets, config.train.seed)
    )
    cuts = with_truth(job, windows)
    blend, fitted, metrics = np.ones((2, len(snapshots.SOURCES)), dtype=np.float32), None, NOT_JUDGED
    if len(cuts) >= LEAST_CUTS:
        learned = learn(job, cuts, steps)
        blend, metrics = learned.blend, judge(learned, config.train.seed)
        if metrics["gain_low"] > 0:
            with steps("Fit the ranker on all windows"):
                fitted = job.fit_ranker(training_set.concatenate(learned.parts))
    with steps("Fit all sources up to the end"):
        snapshot = job.snapshot(job.events, job.until)
        snapshot = replace(snapshot, sources=tuple(map(snapshots.indexed, snapshot.sources)))
    latest = job.until + int(horizon * SECONDS_PER_DAY) if job.has_times else 0
    model = Model(dataset.users, dataset.items, snapshot, blend, fitted, latest)
    return Trained(model, job.until, latest - job.until, job.targets, metrics)


def prepare(dataset: Dataset, until: int | None, config: Config) -> Job:
    """The events to train on, and their facts."""
    events = dataset.events
    end = (until if until is not None else int(events.time[-1]) + 1) if dataset.has_times else 0
    rows = max(len(dataset.users), int(events.user_num.max()) + 1)
    shape = Shape(len(dataset.users), rows, len(dataset.items))
    threads = config.train.threads or len(os.sched_getaffinity(0))
    return Job(events, shape, end, dataset.has_times, config, threads, splits.target_types(events))


def with_truth(job: Job, windows: tuple[Window, ...]) -> list[tuple[Window, Truth]]:
    """The windows in which somebody known comes back, and what those users did, oldest first."""
    limit = job.config.split.max_groups // (N_MODES * max(len(windows), 1))
    sampled = [
        training_set.window_truth(window, job.shape.users, job.shape.items, limit, job.config.train.seed)
        for window in windows
    ]
    return [(window, truth) for window, truth in zip(windows, sampled, strict=True) if len(truth)]


def learn(job: Job, cuts: list[tuple[Window, Truth]], steps: Steps) -> Learned:
    """Replay the windows, newest first: it sets the blend that the features of all contain, and judges the ranker."""
    *older, (window, truth) = cuts
    k, policies = job.config.retrieval.candidates_per_source, training_set.modes(job.targets)
    judged = truth.thinned(JUDGED_USERS)
    snapshot = _fit_sources(job, window, steps)
    with steps(f"Weigh the sources on {len(judged):,} users"):
        replays = [list(training_set.replay(snapshot, judged, window.now, policy, k)) for policy in policies]
        blend = np.stack([blending.search(of_mode) for of_mode in replays])
    parts = [_learn_cut(job, snapshot, truth, window, blend, steps)]
    for past, past_truth in reversed(older):
        parts.append(_learn_cut(job, _fit_sources(job, past, steps), past_truth, past, blend, steps))
    with steps("Judge the ranker on the newest window"):
        earlier = job.fit_ranker(training_set.concatenate(parts[1:]))
        scores = [_judge_replay(earlier, part, snapshot, blend) for of_mode in replays for part in of_mode]
    stage_1, two_stage = (np.concatenate(column) for column in zip(*scores, strict=True))
    return Learned(blend, parts, stage_1, two_stage)


def _learn_cut(
    job: Job, snapshot: Snapshot, truth: Truth, window: Window, blend: Float32s, steps: Steps
) -> TrainingSet:
    """The training set of one cut."""
    with steps(f"Build features of {len(truth):,} users"):
        policies = training_set.modes(job.targets)
        return training_set.build(snapshot, truth, window.now, policies, blend, job.config)


def _fit_sources(job: Job, window: Window, steps: Steps) -> Snapshot:
    """The snapshot of a window's cut."""
    cut = f" as of {np.datetime64(window.now, 's').astype('datetime64[D]')}" if job.has_times else ""
    with steps(f"Fit sources{cut}"):
        return job.snapshot(window.past, window.now)


def _judge_replay(
    fitted: Ranker, part: training_set.Replay, snapshot: Snapshot, blend: Float32s
) -> tuple[Float64s, Float64s]:
    """NDCG@20 of stage 1 and of both stages, for each query with something to find."""
    candidates = part.candidates
    score = candidates.blend(blend, part.batch.discovery)
    matrix = features.matrix(features.Context(part.batch, candidates, score, snapshot.stats))
    query, label, relevant = candidates.query_num, part.label, part.relevant
    return (
        blending.ndcg_of(query, score, label, relevant),
        blending.ndcg_of(query, fitted.score(matrix), label, relevant),
    )


def judge(learned: Learned, seed: int) -> dict[str, float]:
    """How much the second stage adds in the last window, when fitted on the windows before."""
    low, high = bootstrap_interval(learned.two_stage - learned.stage_1, seed)
    return {
        "queries": len(learned.stage_1),
        "stage_1_ndcg@20": float(learned.stage_1.mean()),
        "two_stage_ndcg@20": float(learned.two_stage.mean()),
        "gain_low": low,
        "gain_high": high,
    }
