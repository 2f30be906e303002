"""The training job: windows replayed, ranker fitted and judged, everything fitted again up to the end."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.config import Config
from recsys.content_source import ContentSource, DescribedSource
from recsys.model import Model
from recsys.queries import N_MODES
from recsys.ranker import Ranker
from recsys.slate import Slots
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource
from recsys.spectral_source import SpectralSource
from recsys.splits import Window
from recsys.types import SECONDS_PER_DAY, EventType, Int32s
from recsys_offline.as_of import as_of
from recsys_offline.dataset import Dataset
from recsys_offline.train import content, fitting, learning, slots, snapshots, spectral
from recsys_offline.train.job import LEAST_CUTS, Job, prepare, split, with_truth
from recsys_offline.train.learning import CONTENT, Judged, Learned
from recsys_offline.train.specs import Facts, Spec, propose
from recsys_offline.train.steps import Steps
from recsys_offline.train.workers import workers

N_STEPS = 6
"""At most, of a training."""
FIRST_ROUNDS = {"als": 4.0, "spectral": float(spectral.PASSES)}
"""Of the fits before all windows, by kind of source."""
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
    specs, learned = proposed, None
    # Threads of one product among those of other parts wait for each other more than they work.
    with threadpool_limits(1, user_api="blas") if facts.is_large else nullcontext():
        if facts.is_large:
            job = job.side_by_side()
        if len(cuts) >= LEAST_CUTS:
            if facts.is_large and not windows[0].hides:
                job = going_on(job, cuts[0][0], specs, steps)
            learned = learning.learn(job, cuts, specs, steps)
            specs = learned.specs
        snapshot, judged, fitted = finish(job, specs, learned, steps)
    latest = job.until + int(horizon * SECONDS_PER_DAY) if job.has_times else 0
    if learned is None:
        proposing = np.array([not isinstance(source, DescribedSource) for source in snapshot.sources])
        blend = np.tile(np.float32(proposing & ~snapshot.reserved), (N_MODES, 1))
    else:
        blend = learned.blend
    shares = slots.LEAST_SHARES if judged is None else judged.slot_shares
    if config.content.slot_share:
        shares = (config.content.slot_share, config.content.slot_share)
    kept = tuple(Slots(int(column), shares) for column in np.flatnonzero(snapshot.reserved))
    attributes = dataset.catalogue.attributes
    model = Model(dataset.users, dataset.items, snapshot, blend, fitted, latest, kept, attributes)
    metrics = NOT_JUDGED if judged is None else judged.metrics(config.train.seed)
    cold = [source for source in snapshot.sources if isinstance(source, ContentSource)]
    names = snapshot.source_names
    choices = (
        *map(_reason, (spec for spec in specs if spec not in CONTENT)),
        *(content.reason(source, shares) for source in cold),
        *(f"{spec.name}: left out, as it adds nothing to the others" for spec in proposed if spec.name not in names),
    )
    return Trained(model, job.until, latest - job.until, job.setting.targets, metrics, choices)


def going_on(job: Job, oldest: Window, proposed: tuple[Spec, ...], steps: Steps) -> Job:
    """The job with factors fitted before the oldest window, from where every later fit goes on in one round."""
    first = [spec.but({fitting.ROUNDS: FIRST_ROUNDS[spec.kind]}) for spec in proposed if spec.kind in FIRST_ROUNDS]
    setting = job.alone().asking(NOBODY).setting  # one of the two takes far longer
    with steps("Fit factors before all windows"), workers(job.at_once) as pool:
        fits = [pool.submit(fitting.fit, spec, oldest.past, oldest.now, setting) for spec in first]
        sources = [fit.result() for fit in fits]
    start = {source.name: source.item_factors for source in sources if isinstance(source, AlsSource | SpectralSource)}
    return replace(job, setting=replace(job.setting, start=start))


def finish(
    job: Job, specs: tuple[Spec, ...], learned: Learned | None, steps: Steps
) -> tuple[Snapshot, Judged | None, Ranker | None]:
    """All sources up to the end, how the ranker did, and the ranker where its gain is surely above nothing."""
    with workers(job.at_once) as pool:
        if learned is None:
            with steps("Fit all sources up to the end"):
                return _up_to_end(pool, job, specs), None, None
        with steps("Judge the ranker, and fit all sources up to the end"):
            judging = pool.submit(learning.judge, job, learned)
            snapshot, judged = _up_to_end(pool, job, specs), judging.result()
        if not _gains(judged, job):
            return snapshot, judged, None
        with steps("Fit the ranker on all windows"):  # by a worker: in this thread the limit of BLAS holds XGBoost, too
            return snapshot, judged, pool.submit(job.alone().fit_ranker, learned.training).result()


def _gains(judged: Judged, job: Job) -> bool:
    """Whether the ranker's gain is surely above nothing."""
    return judged.metrics(job.config.train.seed)["gain_low"] > 0


def _up_to_end(pool: Executor, job: Job, specs: tuple[Spec, ...]) -> Snapshot:
    """All sources as they will serve."""
    snapshot = snapshots.begin(pool, job.events, job.until, specs, job.setting, has_times=job.has_times)()
    return snapshots.indexed(pool, snapshot, job.until, to_serve=True)


def _reason(spec: Spec) -> str:
    """A source and what was chosen for it, as a line."""
    chosen = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else value for name, value in spec.parameters.items()
    )
    return f"{spec.name}: {chosen}"
