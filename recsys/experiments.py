"""Experiments: which variant a unit gets, from the experiments file alone.

Nothing is stored and nothing is asked: the same file, unit and time give the same answer in every process.
``config/experiments.toml`` documents the file, ``docs/experiments.md`` how to use it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from recsys import config
from recsys.assignment import BUCKETS, Range, bucket, bucket_ranges, choose_variation, in_namespace
from recsys.config import SourceName
from recsys.errors import ConfigError
from recsys.section import Section
from recsys.types import ExcludePolicy, ServingParameters

WEIGHT_TOLERANCE = 1e-6
WHOLE_LAYER = (0.0, 1.0)

Name = Annotated[str, Field(min_length=1, max_length=64)]


class Reason(StrEnum):
    """Why a unit is in an experiment, or is not; the first that holds, in the order of the checks."""

    NOT_STARTED = "not_started"
    ENDED = "ended"
    NOT_TARGETED = "not_targeted"
    NOT_IN_LAYER = "not_in_layer"
    NOT_IN_TRAFFIC = "not_in_traffic"
    ASSIGNED = "assigned"
    UNKNOWN_EXPERIMENT = "unknown_experiment"


@dataclass(frozen=True, slots=True)
class Assignment:
    """The variant of one unit in one experiment.

    Attributes:
        experiment: name of the experiment.
        variant: name of the variant to show: the control when the unit is not in the experiment, empty when there is no
            such experiment.
        bucket: 0 to 9,999, whether in the experiment or not.
        reason: why.
    """

    experiment: str
    variant: str
    bucket: int
    reason: Reason

    @property
    def in_experiment(self) -> bool:
        """Whether the unit takes part: only then does its outcome count in an analysis."""
        return self.reason is Reason.ASSIGNED


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to serve: its share of the experiment, and the fields of ServingParameters that it sets."""

    name: str
    weight: float
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment; the first variant is the control.

    Attributes:
        name: unique in the file.
        salt: seed of the hash.
        variants: at least 2, weights summing to 1.
        traffic: share of the units that take part, 0 to 1; of each variant the same.
        layer: experiments of one layer share no unit; empty: in no layer.
        layer_range: the part of the layer's units that this experiment may take.
        start: unix seconds, inclusive.
        end: unix seconds, exclusive.
        target: for each attribute, the values that a unit must have one of.
        ranges: the part of [0, 1) of each variant; follows from weights and traffic.
    """

    name: str
    salt: str
    variants: tuple[Variant, ...]
    traffic: float = 1.0
    layer: str = ""
    layer_range: Range = WHOLE_LAYER
    start: float = -math.inf
    end: float = math.inf
    target: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: tuple[Range, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the ranges once, not at every request."""
        weights = [variant.weight for variant in self.variants]
        object.__setattr__(self, "ranges", tuple(bucket_ranges(len(weights), self.traffic, weights)))

    def assign(self, unit_id: str, now: float, attributes: Mapping[str, str]) -> Assignment:
        """The variant of a unit (empty: in no experiment) at a time (unix seconds)."""
        number = bucket(self.salt, unit_id)
        chosen = choose_variation(number / BUCKETS, self.ranges) if unit_id else -1
        reason = self._exclusion(unit_id, now, attributes)
        if reason is None:
            reason = Reason.ASSIGNED if chosen >= 0 else Reason.NOT_IN_TRAFFIC
        variant = self.variants[chosen if reason is Reason.ASSIGNED else 0]
        return Assignment(self.name, variant.name, number, reason)

    def variant(self, name: str) -> Variant:
        """The variant of that name, which must exist."""
        return next(variant for variant in self.variants if variant.name == name)

    def _exclusion(self, unit_id: str, now: float, attributes: Mapping[str, str]) -> Reason | None:
        """What keeps a unit out, whatever its bucket."""
        if now < self.start:
            return Reason.NOT_STARTED
        if now >= self.end:
            return Reason.ENDED
        if any(attributes.get(key) not in values for key, values in self.target.items()):
            return Reason.NOT_TARGETED
        if self.layer and not in_namespace(unit_id, (self.layer, *self.layer_range)):
            return Reason.NOT_IN_LAYER
        return None


class Experiments:
    """The experiments of one file, in its order."""

    def __init__(self, experiments: Iterable[Experiment] = ()) -> None:
        self.all = tuple(experiments)
        self._by_name = {experiment.name: experiment for experiment in self.all}
        content = json.dumps([asdict(experiment) for experiment in self.all], sort_keys=True)
        self.version = hashlib.sha256(content.encode()).hexdigest()[:16]

    def named(self, name: str) -> Experiment | None:
        """The experiment of that name."""
        return self._by_name.get(name)

    def assign(
        self, unit_id: str, now: float, names: Sequence[str] = (), attributes: Mapping[str, str] | None = None
    ) -> tuple[Assignment, ...]:
        """The variant of a unit in each experiment.

        Args:
            unit_id: usually a user id; an empty one is in no experiment.
            now: unix seconds.
            names: of the experiments, in the order wanted; empty: all, in the order of the file.
            attributes: facts about the unit that experiments may target.
        """
        facts = attributes or {}
        if not names:
            return tuple(experiment.assign(unit_id, now, facts) for experiment in self.all)
        return tuple(
            experiment.assign(unit_id, now, facts)
            if (experiment := self._by_name.get(name))
            else Assignment(name, "", 0, Reason.UNKNOWN_EXPERIMENT)
            for name in names
        )

    def serving(
        self,
        unit_id: str,
        now: float,
        base: ServingParameters,
        overrides: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> tuple[ServingParameters, tuple[tuple[str, str], ...]]:
        """How to serve a unit: the parameters, and the (experiment, variant) pairs that shaped them.

        Overrides (experiment -> variant) hold whether the unit is in the experiment or not. Where two experiments set
        one parameter, the later in the file wins.

        Raises:
            ValueError: ``unknown_overrides`` is not empty.
        """
        forced = overrides or {}
        if unknown := self.unknown_overrides(forced):
            raise ValueError("; ".join(unknown.values()))
        changes: dict[str, Any] = {}
        pairs = []
        for experiment in self.all:
            name = forced.get(experiment.name)
            if name is None:
                assignment = experiment.assign(unit_id, now, attributes or {})
                name = assignment.variant if assignment.in_experiment else None
            if name is not None:
                changes.update(experiment.variant(name).parameters)
                pairs.append((experiment.name, name))
        return (replace(base, **changes) if changes else base), tuple(pairs)

    def unknown_overrides(self, overrides: Mapping[str, str]) -> dict[str, str]:
        """What is wrong with overrides (experiment -> variant): experiment -> a phrase with the nearest known name.

        Empty when every experiment and variant exists.
        """
        return {name: phrase for name, variant in overrides.items() if (phrase := self._unknown(name, variant))}

    def _unknown(self, name: str, variant: str) -> str:
        experiment = self._by_name.get(name)
        if experiment is None:
            return f"no experiment {name!r}{_nearest(name, self._by_name)}"
        variants = [known.name for known in experiment.variants]
        return "" if variant in variants else f"no variant {variant!r} of {name!r}{_nearest(variant, variants)}"


def load(path: Path) -> Experiments:
    """The experiments of a file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or ``parse`` refuses it.
    """
    return parse(config.read_toml(path), str(path))


def parse(tables: dict[str, Any], where: str = "experiments") -> Experiments:
    """Experiments from the tables of a file.

    Raises:
        ConfigError: names every violation in one line that starts with ``where``.
    """
    sections, faults = [], []
    for number, table in enumerate(config.parse(FileSection, tables, where).experiments, start=1):
        try:
            sections.append(config.parse(ExperimentSection, table, f"experiment {table.get('name', number)!r}"))
        except ConfigError as error:
            faults.append(str(error))
    faults += _conflicts(sections)
    if faults:
        raise ConfigError(f"{where}: {'; '.join(faults)}")
    return Experiments(section.experiment() for section in sections)


class FileSection(Section):
    """The whole file; each experiment is parsed by itself, so that one wrong one hides nothing of the others."""

    experiments: list[dict[str, Any]] = Field(default_factory=list)


class ParametersSection(Section):
    """What a variant sets: the fields of ServingParameters, each optional."""

    exclude_policy: ExcludePolicy | None = None
    use_ranker: bool | None = None
    candidates_per_source: int | None = Field(None, ge=1, le=1000)
    candidates: int | None = Field(None, ge=1, le=5000)
    sources: tuple[SourceName, ...] | None = None
    fill: bool | None = None
    by_cycle: bool | None = None


class VariantSection(Section):
    """One variant."""

    name: Name
    weight: float | None = Field(None, gt=0, le=1)
    parameters: ParametersSection = ParametersSection()

    def variant(self, equal_weight: float) -> Variant:
        """The variant; its weight is the equal one when the file gives none."""
        weight = equal_weight if self.weight is None else self.weight
        return Variant(self.name, weight, self.parameters.model_dump(exclude_none=True))


class ExperimentSection(Section):
    """One experiment."""

    name: Name
    salt: Name | None = None
    traffic: float = Field(1.0, ge=0, le=1)
    layer: Name | None = None
    layer_range: Range = WHOLE_LAYER
    start: datetime | None = None
    end: datetime | None = None
    target: dict[Name, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)
    variants: list[VariantSection]

    @field_validator("layer_range")
    @classmethod
    def _is_a_part_of_a_layer(cls, part: Range, info: ValidationInfo) -> Range:
        if not 0 <= part[0] < part[1] <= 1:
            raise ValueError(f"write [from, to] with 0 <= from < to <= 1, not {list(part)}")
        if info.data.get("layer", "") is None:
            raise ValueError("a range of which layer? Give the layer's name as well")
        return part

    @field_validator("start", "end")
    @classmethod
    def _has_a_time_zone(cls, time: datetime) -> datetime:
        if time.tzinfo is None:
            raise ValueError(f"{time.isoformat()} has no time zone; write {time.isoformat()}Z for UTC")
        return time

    @field_validator("end")
    @classmethod
    def _is_after_start(cls, end: datetime, info: ValidationInfo) -> datetime:
        start = info.data.get("start")
        if start is not None and end <= start:
            raise ValueError(f"{end.isoformat()} is not after start, {start.isoformat()}")
        return end

    @field_validator("variants")
    @classmethod
    def _share_the_units(cls, variants: list[VariantSection]) -> list[VariantSection]:
        if faults := "; ".join(_variant_faults(variants)):
            raise ValueError(faults)
        return variants

    def experiment(self) -> Experiment:
        """The experiment, with the defaults in place of what the file leaves out."""
        return Experiment(
            name=self.name,
            salt=self.salt or self.name,
            variants=tuple(variant.variant(1 / len(self.variants)) for variant in self.variants),
            traffic=self.traffic,
            layer=self.layer or "",
            layer_range=self.layer_range,
            start=self.start.timestamp() if self.start else -math.inf,
            end=self.end.timestamp() if self.end else math.inf,
            target={key: tuple(values) for key, values in self.target.items()},
        )


def _variant_faults(variants: list[VariantSection]) -> Iterator[str]:
    if len(variants) < 2:
        yield f"at least 2 are needed, not {len(variants)}; the first is the control"
    for name in _repeated(variant.name for variant in variants):
        yield f"{name!r} stands twice; give each variant its own name"
    weights = [variant.weight for variant in variants if variant.weight is not None]
    if weights and len(weights) < len(variants):
        yield "only some have a weight; give one to all, or to none for equal ones"
    elif weights and abs(sum(weights) - 1) > WEIGHT_TOLERANCE:
        yield f"the weights sum to {sum(weights):.9g}; make it 1"


def _conflicts(sections: list[ExperimentSection]) -> Iterator[str]:
    """What is wrong between experiments that are right by themselves."""
    for name in _repeated(section.name for section in sections):
        yield f"experiment {name!r} stands twice; give each experiment its own name"
    for one, other in combinations((section.experiment() for section in sections), 2):
        if one.layer and one.layer == other.layer and _overlap(one, other):
            yield (
                f"experiments {one.name!r} and {other.name!r} take overlapping ranges of layer {one.layer!r}, "
                f"{list(one.layer_range)} and {list(other.layer_range)}, at the same time; part the ranges or the times"
            )


def _overlap(one: Experiment, other: Experiment) -> bool:
    """Whether two experiments of a layer could take the same unit at the same time."""
    (from_, to), (other_from, other_to) = one.layer_range, other.layer_range
    return from_ < other_to and other_from < to and one.start < other.end and other.start < one.end


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0)
    return f", did you mean {near[0]!r}?" if near else ": none is configured"
