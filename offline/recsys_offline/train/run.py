"""The training job: windows replayed, ranker fitted and judged, everything fitted again up to the end."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from recsys import features, ranker, splits
from recsys.config import Config
from recsys.content_source import ContentSource, DescribedSource
from recsys.errors import DataError
from recsys.interactions import Events
from recsys.metrics import Truth, bootstrap_interval
from recsys.model import Model
from recsys.queries import N_MODES
from recsys.ranker import Ranker, TrainingSet
from recsys.slate import Slots
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, PopularitySource
from recsys.splits import Window
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, Bools, EventType, ExcludePolicy, Float32s, Float64s, Int32s
from recsys_offline.as_of import as_of
from recsys_offline.dataset import Dataset
from recsys_offline.train import blending, content, fitting, slots, snapshots, training_set, tune
from recsys_offline.train.factorise import Shape
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Facts, Spec, propose
from recsys_offline.train.steps import Steps

JUDGED_USERS = 2_000
TUNED_USERS = 1_000
LEAST_USERS = 150
"""Users that a window must have for the ranker to learn from it."""
MANY_CUTS, FEW_CUTS, MANY_CUTS_EVENTS = 5, 3, 2_000_000
WEIGHED_CUTS = 2
"""Newest windows that weigh the sources together."""
LEAST_CUTS = 2
"""One to learn from, one to judge on."""
CONTENT = (Spec("described", "content", {}), Spec("content", "content", {}))
"""What is known of items by their attributes: always both, in this order, after all others."""
NOT_JUDGED: dict[str, float] = {}
NOBODY: Int32s = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and what there is to say of its training.

    Attributes:
        model: what answers.
        until: end of the data, unix seconds; 0 in a static set.
        horizon_seconds: how far ahead the ranker learned to look.
        targets: event types that it predicts.
        metrics: stage 1 against both stages in the newest window; empty where too few users came back to judge.
        choices: each source and what was chosen for it, in words.
    """

    model: Model
    until: int
    horizon_seconds: int
    targets: tuple[EventType, ...]
    metrics: dict[str, float]
    choices: tuple[str, ...]

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
    until: int
    has_times: bool
    setting: Setting
    policies: tuple[ExcludePolicy, ...]

    @property
    def config(self) -> Config:
        """Parameters of the run."""
        return self.setting.config

    def asking(self, users: Int32s) -> Job:
        """The same for these users alone."""
        return replace(self, setting=replace(self.setting, asked=users))

    def snapshot(self, events: Events, now: int, specs: tuple[Spec, ...]) -> Snapshot:
        """Everything fitted on events before now."""
        return snapshots.fit(events, now, specs, self.setting, has_times=self.has_times)

    def fit_ranker(self, training: TrainingSet) -> Ranker:
        """The second stage."""
        return ranker.fit(training, self.config.ranker, self.config.train.seed, self.setting.threads)


@dataclass(frozen=True, slots=True)
class Learned:
    """What the windows taught.

    Attributes:
        specs: the sources that pay, with their parameters.
        blend: float32[3, S], weights of stage 1, from the two newest windows.
        parts: each window's training set, newest first.
        stage_1: NDCG@20 of stage 1 for each query of the newest window: float64[q].
        two_stage: the same of both stages, the ranker fitted on the older windows.
        slot_shares: of the places, for cold items, in each mode.
    """

    specs: tuple[Spec, ...]
    blend: Float32s
    parts: list[TrainingSet]
    stage_1: Float64s
    two_stage: Float64s
    slot_shares: tuple[float, float]


def train(dataset: Dataset, until: int | None, config: Config, steps: Steps) -> Trained:
    """A model of all events before ``until`` (unix seconds; None: all there are).

    Raises:
        DataError: there is no event before ``until``.
    """
    if until is not None and dataset.has_times:
        dataset = as_of(dataset, until)
    job = prepare(dataset, until, config)
    horizon, windows = split(job)
    if windows and windows[0].hides:
        job = replace(job, policies=job.policies[1:])  # what is hidden is always new to the user
    cuts = with_truth(job, windows)
    facts = Facts.of(job.events, len(dataset.items), job.has_times, job.setting.targets)
    proposed = propose(facts, config)
    if job.setting.described is not None:
        proposed = (*proposed, *CONTENT)
    specs = proposed
    blend, fitted, metrics, shares = None, None, NOT_JUDGED, slots.LEAST_SHARES
    if len(cuts) >= LEAST_CUTS:
        if facts.is_large and not windows[0].hides:
            job = going_on(job, cuts[0][0], specs, steps)
        learned = learn(job, cuts, specs, steps)
        specs, blend, metrics = learned.specs, learned.blend, judge(learned, config.train.seed)
        shares = learned.slot_shares
        if metrics["gain_low"] > 0:
            with steps("Fit the ranker on all windows"):
                fitted = job.fit_ranker(training_set.concatenate(learned.parts))
    with steps("Fit all sources up to the end"):
        snapshot = job.snapshot(job.events, job.until, specs)
        searched = (fitting.indexed(source, snapshot.histories, job.until) for source in snapshot.sources)
        snapshot = replace(snapshot, sources=tuple(searched))
    latest = job.until + int(horizon * SECONDS_PER_DAY) if job.has_times else 0
    if blend is None:
        proposing = np.array([not isinstance(source, DescribedSource) for source in snapshot.sources])
        blend = np.tile(np.float32(proposing & ~snapshot.reserved), (N_MODES, 1))
    if config.content.slot_share:
        shares = (config.content.slot_share, config.content.slot_share)
    kept = tuple(Slots(int(column), shares) for column in np.flatnonzero(snapshot.reserved))
    attributes = dataset.catalogue.attributes
    model = Model(dataset.users, dataset.items, snapshot, blend, fitted, latest, kept, attributes)
    cold = [source for source in snapshot.sources if isinstance(source, ContentSource)]
    names = snapshot.source_names
    choices = (
        *map(_reason, (spec for spec in specs if spec not in CONTENT)),
        *(content.reason(source, shares) for source in cold),
        *(f"{spec.name}: left out, as it adds nothing to the others" for spec in proposed if spec.name not in names),
    )
    return Trained(model, job.until, latest - job.until, job.setting.targets, metrics, choices)


def needed(snapshot: Snapshot) -> Bools:
    """bool[S]: sources that stay without weight: popularity fills slates, content needs ALS."""
    content = (ContentSource, DescribedSource, AlsSource) if snapshot.reserved.any() else ()
    kinds = (PopularitySource, *content)
    return np.array([isinstance(source, kinds) for source in snapshot.sources])


def _reason(spec: Spec) -> str:
    """A source and what was chosen for it, as a line."""
    chosen = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else value for name, value in spec.parameters.items()
    )
    return f"{spec.name}: {chosen}"


def prepare(dataset: Dataset, until: int | None, config: Config) -> Job:
    """The events to train on, and their facts.

    Raises:
        DataError: nobody acts on anything.
    """
    events = dataset.events
    if not len(events.of_types(INTERACTION_TYPES)):
        wanted = ", ".join(event_type.word for event_type in INTERACTION_TYPES)
        raise DataError(f"{dataset.path}: nothing to learn from: no event is one of {wanted}")
    end = (until if until is not None else int(events.time[-1]) + 1) if dataset.has_times else 0
    rows = max(len(dataset.users), int(events.user_num.max()) + 1)
    shape = Shape(len(dataset.users), rows, len(dataset.items))
    threads = config.train.threads or len(os.sched_getaffinity(0))
    targets = splits.target_types(events)
    described = content.describe(dataset.catalogue, config.content)
    setting = Setting(shape, config, threads, targets, described)
    return Job(events, end, dataset.has_times, setting, training_set.modes(targets))


def n_steps(config: Config) -> int:
    """Steps of a training: two for each cut, and those around them."""
    return 2 * (config.split.cuts or MANY_CUTS) + 5


def split(job: Job) -> tuple[float, tuple[Window, ...]]:
    """The horizon in days, and the windows: of time where enough users come back within them, else hidden items."""
    section, targets, shape = job.config.split, job.setting.targets, job.setting.shape
    cuts = section.cuts or (MANY_CUTS if len(job.events) <= MANY_CUTS_EVENTS else FEW_CUTS)
    horizon = section.horizon_days or splits.horizon_days(job.events, targets, cuts)
    windows: tuple[Window, ...] = ()
    if job.has_times:
        windows = splits.by_time(job.events, job.until, horizon, cuts, targets)
        users = [len(training_set.window_truth(window, shape.users, shape.items, LEAST_USERS, 0)) for window in windows]
        enough = sum(count >= LEAST_USERS for count in users) >= LEAST_CUTS
        if enough or section.horizon_days:
            return horizon, windows
    seed = job.config.train.seed
    hidden = splits.hidden(job.events, job.until, shape.users, shape.items, min(cuts, FEW_CUTS), targets, seed)
    few = len(np.unique(hidden[0].future.user_num)) < splits.LEAST_GROUPS
    return horizon, windows if few and windows else hidden


def with_truth(job: Job, windows: tuple[Window, ...]) -> list[tuple[Window, Truth]]:
    """The windows in which known users come back, and what those did, oldest first."""
    limit = job.config.split.max_groups // (len(job.policies) * max(len(windows), 1))
    sampled = [
        training_set.window_truth(
            window, job.setting.shape.users, job.setting.shape.items, limit, job.config.train.seed
        )
        for window in windows
    ]
    return [(window, truth) for window, truth in zip(windows, sampled, strict=True) if len(truth)]


def going_on(job: Job, oldest: Window, proposed: tuple[Spec, ...], steps: Steps) -> Job:
    """The job with ALS fitted before the oldest window, from where every later fit goes on in a few sweeps."""
    als = next(spec for spec in proposed if spec.kind == "als")
    with steps("Fit ALS before all windows"):
        source = fitting.fit(als, oldest.past, oldest.now, job.asking(NOBODY).setting)
    return replace(job, setting=replace(job.setting, start=cast(AlsSource, source).item_factors))


def learn(job: Job, cuts: list[tuple[Window, Truth]], proposed: tuple[Spec, ...], steps: Steps) -> Learned:
    """Replay the windows, newest first: it chooses and weighs the sources, and judges the ranker.

    Stage 1 is thus judged on what chose it, and the ranker is not: the ranker must win all the more clearly.
    """
    window, truth = cuts[-1]
    specs = choose_specs(job, window, truth, proposed, steps)
    weighed = [
        (past, whole, _fit_sources(job, past, whole, specs, steps)) for past, whole in reversed(cuts[-WEIGHED_CUTS:])
    ]
    with steps(f"Weigh the sources on {sum(min(len(whole), JUDGED_USERS) for _, whole, _ in weighed):,} users"):
        k = job.config.retrieval.candidates_per_source
        blend = blending.weigh(weighed, job.policies, job.setting.targets, k, JUDGED_USERS)
    paying = np.flatnonzero((blend > 0).any(axis=0) | needed(weighed[0][2]))
    specs, blend = tuple(specs[column] for column in paying), blend[:, paying]
    parts = []
    for past, whole, fitted in weighed:
        kept = replace(fitted, sources=tuple(fitted.sources[column] for column in paying))
        parts.append(_learn_cut(job, kept, whole, past, blend, steps))
    for past, whole in reversed(cuts[:-WEIGHED_CUTS]):
        parts.append(_learn_cut(job, _fit_sources(job, past, whole, specs, steps), whole, past, blend, steps))
    snapshot = replace(weighed[0][2], sources=tuple(weighed[0][2].sources[column] for column in paying))
    judged = truth.thinned(JUDGED_USERS)
    with steps(f"Judge the ranker on {len(judged):,} users"):
        replays = [list(training_set.replay(snapshot, judged, window.now, policy, k)) for policy in job.policies]
        earlier = job.fit_ranker(training_set.concatenate(parts[1:]))
        limit = job.config.retrieval.candidates
        scores = [_judge_replay(earlier, part, snapshot, blend, limit) for of_mode in replays for part in of_mode]
    stage_1, two_stage = (np.concatenate(column) for column in zip(*scores, strict=True))
    popular = next(source for source in snapshot.sources if isinstance(source, PopularitySource))
    shares = list(slots.LEAST_SHARES)
    for mode in range(-len(replays), 0):  # where there is one mode, it is the last
        shares[mode] = slots.choose(replays[mode], blend, snapshot.reserved, popular, shares[mode])
    return Learned(specs, blend, parts, stage_1, two_stage, (shares[0], shares[1]))


def choose_specs(job: Job, window: Window, truth: Truth, proposed: tuple[Spec, ...], steps: Steps) -> tuple[Spec, ...]:
    """The proposed sources with the parameters that do best on the newest window."""
    asked = truth.thinned(TUNED_USERS)
    with steps(f"Tune the sources on {len(asked):,} users"):
        limit = job.config.train.max_history
        questions = tune.questions(window, asked, job.policies, job.setting.shape.users, limit)
        free = tuple(spec for spec in proposed if spec not in CONTENT)
        return *tune.settle(free, window, questions, job.asking(asked.user_num).setting), *proposed[len(free) :]


def _learn_cut(
    job: Job, snapshot: Snapshot, truth: Truth, window: Window, blend: Float32s, steps: Steps
) -> TrainingSet:
    """The training set of one cut."""
    with steps(f"Build features of {len(truth):,} users"):
        return training_set.build(snapshot, truth, window, job.policies, job.setting.targets, blend, job.config)


def _fit_sources(job: Job, window: Window, truth: Truth, specs: tuple[Spec, ...], steps: Steps) -> Snapshot:
    """The snapshot of a window's cut, for the users of its truth."""
    cut = f" as of {np.datetime64(window.now, 's').astype('datetime64[D]')}" if job.has_times else ""
    with steps(f"Fit sources{cut}"):
        return job.asking(truth.user_num).snapshot(window.past, window.now, specs)


def _judge_replay(
    fitted: Ranker, part: training_set.Replay, snapshot: Snapshot, blend: Float32s, limit: int
) -> tuple[Float64s, Float64s]:
    """NDCG@20 of stage 1 and of both stages, for each query with something to find."""
    best, score = part.best(blend, limit, snapshot.reserved)
    matrix = features.matrix(features.Context(best.batch, best.candidates, score, snapshot.stats))
    query, label, relevant = best.candidates.query_num, best.label, best.relevant
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
