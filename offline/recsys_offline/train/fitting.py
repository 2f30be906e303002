"""From a spec and events to a fitted source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from recsys.als import Confidence
from recsys.config import Config
from recsys.halves import halved
from recsys.interactions import Events, Histories
from recsys.item_index import ItemIndex, choose
from recsys.popularity import decay, decayed_counts, type_weights
from recsys.queries import for_users
from recsys.sources import AlsSource, CandidateSource, PopularitySource, RepeatsSource, SimilaritySource
from recsys.spectral_source import SpectralSource
from recsys.types import INTERACTION_TYPES, EventType, ExcludePolicy, Float32s, Float64s, Int32s
from recsys_offline.train import factorise, neighbours, spectral
from recsys_offline.train.content import Described
from recsys_offline.train.factorise import Shape
from recsys_offline.train.specs import Spec

HISTORY = "history_half_life_days"
ROUNDS = "rounds"
"""Of a fit that comes nearer in each, where a spec says how many: sweeps of ALS, passes of the spectral filter."""
LEAST_RECALL = 0.995
PROBED_USERS, FEW_PROBED_USERS = 500, 100


@dataclass(frozen=True, slots=True)
class Setting:
    """What the fits of one snapshot share.

    Attributes:
        shape: of the data.
        config: parameters of the run.
        threads: of each computation.
        targets: event types that the ranker predicts.
        described: None where nothing is known of the items.
        asked: rows of the users whose own vectors are wanted; None: all.
        start: float32[n_items, d] of some sources by name: factors of an earlier time that they go on from, in one
            round; the others start from chance.
    """

    shape: Shape
    config: Config
    threads: int
    targets: tuple[EventType, ...]
    described: Described | None = None
    asked: Int32s | None = None
    start: Mapping[str, Float32s] = field(default_factory=dict)

    @property
    def weights(self) -> dict[EventType, float]:
        """Configured weights of the event types."""
        return self.config.event_weights.by_type()


def fit(spec: Spec, events: Events, now: int, setting: Setting) -> CandidateSource:
    """The source of a spec, fitted on events that all lie before ``now`` (unix seconds)."""
    match spec.kind:
        case "als":
            return _als(spec, events, now, setting)
        case "neighbours":
            return _neighbours(spec, events, now, setting)
        case "spectral":
            return _spectral(spec, events, now, setting)
        case "popularity":
            return _popularity(spec, events, now, setting)
        case "repeats":
            return _repeats(spec, setting)
    raise ValueError(f"no such kind of source: {spec.kind}")


def asked_with(source: CandidateSource, spec: Spec) -> CandidateSource:
    """The source, reading histories as a spec says that differs in nothing else."""
    if isinstance(source, SimilaritySource | SpectralSource):
        return replace(source, half_life_days=_number(spec, HISTORY))
    return source


def indexed(source: CandidateSource, histories: Histories, now: int, *, to_serve: bool) -> CandidateSource:
    """The source with its factors behind an index that finds enough of the exact answer.

    Measured on some of the users with a history, asked at ``now`` (unix seconds).

    Args:
        source: whose index is exact.
        histories: of all users.
        now: of the queries.
        to_serve: the cheapest index for many queries; else one that is soon found, for some thousand.
    """
    if not isinstance(source, AlsSource | SpectralSource):
        return source
    active = np.flatnonzero(np.diff(histories.indptr)).astype(np.int32)
    users = active[:: max(len(active) // (PROBED_USERS if to_serve else FEW_PROBED_USERS), 1)]
    probe = for_users(histories, users, now, len(source.item_factors), ExcludePolicy.NONE)
    return replace(
        source, index=choose(source.item_factors, source.vectors(probe), LEAST_RECALL, by_length_alone=not to_serve)
    )


def _number(spec: Spec, name: str) -> float:
    return float(spec.parameters[name])


def _rounds(spec: Spec, setting: Setting, usual: int) -> int:
    """How many rounds a fit takes: one where it goes on from earlier factors."""
    return 1 if spec.name in setting.start else int(spec.parameters.get(ROUNDS, usual))


def _als(spec: Spec, events: Events, now: int, setting: Setting) -> AlsSource:
    """Matrix factorisation, searched exactly."""
    alpha, half_life = _number(spec, "alpha"), _number(spec, "half_life_days")
    confidence = Confidence.of(setting.weights, alpha, half_life, now)
    sweeps = setting.config.als.iterations
    section = setting.config.als.model_copy(
        update={
            "factors": int(_number(spec, "factors")),
            "regularization": _number(spec, "regularization"),
            "iterations": min(_rounds(spec, setting, sweeps), sweeps),
        }
    )
    seed, asked = setting.config.train.seed, setting.asked
    shared = (setting.threads, asked, setting.start.get(spec.name))
    factors = factorise.als(events, setting.shape, confidence, section, seed, *shared)
    index = ItemIndex.exact(factors.item_factors)
    # Half precision, as stored and served, so that the ranker learns from what it will see.
    user_factors = np.zeros(factors.user_factors.shape, dtype=np.float16)
    wanted = slice(None) if asked is None else asked  # rows that are not touched take no memory
    user_factors[wanted] = factors.user_factors[wanted]
    return AlsSource(factors.item_factors, user_factors, factors.gram, confidence, index)


def _neighbours(spec: Spec, events: Events, now: int, setting: Setting) -> SimilaritySource:
    """An item-item model over users or over visits."""
    matrix = _acted_on(spec, events, now, setting)
    history = type_weights(setting.weights)
    return SimilaritySource(_item_item(spec, matrix, setting), history, _number(spec, HISTORY), spec.name)


def _spectral(spec: Spec, events: Events, now: int, setting: Setting) -> SpectralSource:
    """The low-pass filter of the graph of users and items."""
    matrix = _acted_on(spec, events, now, setting)
    passes, start = _rounds(spec, setting, spectral.PASSES), setting.start.get(spec.name)
    shape = (int(_number(spec, "dimensions")), setting.config.train.seed)
    factors, inverse_degree = spectral.low_pass(matrix, *shape, passes, start)
    factors, weights = halved(factors), type_weights(setting.weights)
    return SpectralSource(factors, inverse_degree, weights, _number(spec, HISTORY), ItemIndex.exact(factors), spec.name)


def _acted_on(spec: Spec, events: Events, now: int, setting: Setting) -> sp.csr_matrix:
    """What users acted on, or visits: 1 where they did, halved by age."""
    acted: Float64s = np.minimum(type_weights(setting.weights), 1.0)
    weight = acted[events.event_type] * decay(now - events.time, _number(spec, "half_life_days"))
    if spec.parameters["rows"] == "session":
        rows = int(events.session_num.max()) + 1
        matrix = factorise.sum_by_pair(events.session_num, events.item_num, weight, (rows, setting.shape.items))
    else:
        matrix = factorise.sum_by_pair(
            events.user_num, events.item_num, weight, (setting.shape.rows, setting.shape.items)
        )
    matrix.data = np.minimum(matrix.data, 1.0)
    return matrix


def _item_item(spec: Spec, matrix: sp.csr_matrix, setting: Setting) -> sp.csr_array:
    config = setting.config
    if spec.parameters["method"] == "ease":
        return neighbours.ease(matrix, config.item_model.neighbours, _number(spec, "regularization"))
    shrinkage, power = _number(spec, "shrinkage"), _number(spec, "row_power")
    return neighbours.co_occurrence(matrix, config.item_similarity.neighbours, shrinkage, power, setting.threads)


def _popularity(spec: Spec, events: Events, now: int, setting: Setting) -> PopularitySource:
    """Decayed counts of what the ranker should predict; other interactions break ties."""
    n_items, half_life = setting.shape.items, _number(spec, "half_life_days")
    counts = decayed_counts(events, n_items, dict.fromkeys(setting.targets, 1.0), now, half_life)
    others = decayed_counts(events, n_items, setting.weights, now, half_life)
    return PopularitySource.of((counts + np.float32(0.001) * others).astype(np.float32))


def _repeats(spec: Spec, setting: Setting) -> RepeatsSource:
    """The user's own items: those of target events, or those of the others."""
    others = [event_type for event_type in INTERACTION_TYPES if event_type not in setting.targets]
    types = setting.targets if spec.parameters["types"] == "targets" else others
    mask = type_weights(dict.fromkeys(types, 1.0)) > 0
    return RepeatsSource(mask, _number(spec, "half_life_days"), spec.name)
