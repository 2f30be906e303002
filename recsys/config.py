"""Every parameter, its type, range and default. ``config/recsys.toml`` documents them one by one."""

from __future__ import annotations

import difflib
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from recsys.errors import ConfigError
from recsys.rules import AllOf, Rules
from recsys.rules_config import BoostSection, CapSection, ConditionSection, PinSection
from recsys.section import Section
from recsys.types import EventType, ExcludePolicy, ServingParameters

S = TypeVar("S", bound=Section)


class EventWeights(Section):
    """How much one event of each type says about taste, for ALS confidence and item similarity."""

    view_item: float = Field(1.0, ge=0)
    select_item: float = Field(1.0, ge=0)
    add_to_cart: float = Field(3.0, ge=0)
    add_to_wishlist: float = Field(3.0, ge=0)
    purchase: float = Field(5.0, ge=0)

    def by_type(self) -> dict[EventType, float]:
        """The weight of each interaction type."""
        return {EventType[name.upper()]: weight for name, weight in self}


class TrainSection(Section):
    """The run as a whole."""

    seed: int = Field(7, ge=0)
    threads: int = Field(0, ge=0)
    max_history: int = Field(10_000, ge=1)


class SplitSection(Section):
    """Windows of time from which the ranker learns."""

    horizon_days: float = Field(0.0, ge=0)
    cuts: int = Field(0, ge=0, le=12)
    max_groups: int = Field(30_000, ge=100)


class AlsSection(Section):
    """Matrix factorisation."""

    factors: int = Field(0, ge=0, le=1024)
    regularization: float = Field(0.0, ge=0)
    alpha: float = Field(0.0, ge=0)
    iterations: int = Field(10, ge=1)
    half_life_days: float = Field(0.0, ge=0)


class ItemSimilaritySection(Section):
    """Items that the same users, or the same visits, act on."""

    neighbours: int = Field(300, ge=1)
    shrinkage: float = Field(0.0, ge=0)
    half_life_days: float = Field(0.0, ge=0)
    history_half_life_days: float = Field(0.0, ge=0)


class ItemModelSection(Section):
    """EASE, a learnt item-item model for small catalogues."""

    ease_items: int = Field(6_000, ge=0)
    neighbours: int = Field(300, ge=1)
    regularization: float = Field(0.0, ge=0)
    half_life_days: float = Field(0.0, ge=0)
    history_half_life_days: float = Field(0.0, ge=0)


class SpectralSection(Section):
    """What the whole graph of users and items says, for catalogues too large for EASE."""

    dimensions: int = Field(0, ge=0, le=1024)
    half_life_days: float = Field(0.0, ge=0)
    history_half_life_days: float = Field(0.0, ge=0)


class PopularitySection(Section):
    """What everybody acts on."""

    half_life_days: float = Field(0.0, ge=0)


class RepeatsSection(Section):
    """What the user acts on again."""

    half_life_days: float = Field(0.0, ge=0)


class ContentSection(Section):
    """Items on which few have acted yet, known by their attributes."""

    terms: int = Field(4_000, ge=0, le=20_000)
    cold_below: int = Field(1, ge=1)
    strength: float = Field(0.0, ge=0)
    slot_share: float = Field(0.0, ge=0, le=0.5)


class RetrievalSection(Section):
    """How many candidates each source proposes."""

    candidates_per_source: int = Field(100, ge=1, le=1000)
    candidates: int = Field(220, ge=1, le=5000)


class RankerSection(Section):
    """The XGBoost model of the second stage."""

    trees: int = Field(150, ge=1)
    depth: int = Field(5, ge=1, le=12)
    learning_rate: float = Field(0.08, gt=0, le=1)
    min_child_weight: float = Field(20.0, ge=0)
    subsample: float = Field(0.8, gt=0, le=1)
    colsample: float = Field(0.6, gt=0, le=1)
    negatives: int = Field(60, ge=1)


SourceName = Literal[
    "als", "item_similarity", "co_visitation", "ease", "spectral", "popularity", "repeats", "touched", "content"
]


class PlacementSection(Section):
    """A place on the shop's pages."""

    slate_size: int = Field(20, ge=1, le=500)
    exclude_policy: ExcludePolicy = ExcludePolicy.NONE
    use_ranker: bool = True
    sources: tuple[SourceName, ...] = ()
    fill: bool = True
    by_cycle: bool = False
    filter: tuple[ConditionSection, ...] = ()
    boosts: tuple[BoostSection, ...] = ()
    pins: tuple[PinSection, ...] = ()
    caps: tuple[CapSection, ...] = ()
    diversity: float = Field(0.0, ge=0, le=1)
    fatigue: float = Field(0.0, ge=0, le=10)

    @cached_property
    def rules(self) -> Rules:
        """The rules of every slate of this placement."""
        conditions = tuple(each.condition() for each in self.filter)
        return Rules(
            condition=conditions[0] if len(conditions) == 1 else AllOf(conditions),
            boosts=tuple(each.boost() for each in self.boosts),
            pins=tuple(each.pin() for each in self.pins),
            caps=tuple(each.cap() for each in self.caps),
            diversity=self.diversity,
            fatigue=self.fatigue,
        )


class CacheSection(Section):
    """Answers that are kept."""

    user_mib: float = Field(64.0, ge=0)
    user_seconds: float = Field(30.0, ge=0)
    popular_mib: float = Field(32.0, ge=0)
    popular_seconds: float = Field(60.0, gt=0)


MOST_WORKERS = 64


class ServerSection(Section):
    """The service."""

    listen: str = "127.0.0.1:50051"
    metrics: str = "127.0.0.1:9090"
    workers: int = Field(1, ge=1, le=MOST_WORKERS)
    max_batch: int = Field(64, ge=1)
    max_waiting: int = Field(1024, ge=1)
    shed_seconds: float = Field(0.05, gt=0)
    deadline_seconds: float = Field(1.0, gt=0)
    drain_seconds: float = Field(10.0, ge=0)
    reload_seconds: float = Field(2.0, gt=0)
    experiments: str = ""


class StateSection(Section):
    """What the server keeps in its state directory."""

    retention_days: float = Field(400.0, ge=0)
    exposure_retention_days: float = Field(90.0, ge=0)
    sample_share: float = Field(0.0, ge=0, le=1)


class Config(Section):
    """The whole file. Every table and key is optional."""

    train: TrainSection = TrainSection()
    event_weights: EventWeights = EventWeights()
    split: SplitSection = SplitSection()
    als: AlsSection = AlsSection()
    item_similarity: ItemSimilaritySection = ItemSimilaritySection()
    item_model: ItemModelSection = ItemModelSection()
    spectral: SpectralSection = SpectralSection()
    popularity: PopularitySection = PopularitySection()
    repeats: RepeatsSection = RepeatsSection()
    content: ContentSection = ContentSection()
    retrieval: RetrievalSection = RetrievalSection()
    ranker: RankerSection = RankerSection()
    server: ServerSection = ServerSection()
    cache: CacheSection = CacheSection()
    state: StateSection = StateSection()
    placements: dict[str, PlacementSection] = Field(default_factory=lambda: {"default": PlacementSection()})

    def placement(self, name: str) -> PlacementSection:
        """The placement of that name, or the default one."""
        return self.placements.get(name) or self.placements.get("default") or PlacementSection()

    def serving(self, placement: str) -> ServingParameters:
        """What serves a placement before experiments have their say."""
        section = self.placement(placement)
        return ServingParameters(
            exclude_policy=section.exclude_policy,
            use_ranker=section.use_ranker,
            candidates_per_source=self.retrieval.candidates_per_source,
            candidates=self.retrieval.candidates,
            sources=section.sources,
            fill=section.fill,
            by_cycle=section.by_cycle,
        )


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a readable TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def parse(model: type[S], tables: dict[str, Any], where: str) -> S:
    """Tables as a typed section.

    Raises:
        ConfigError: names every wrong key of ``where`` and, for an unknown one, the nearest known key.
    """
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_violation(model, item) for item in error.errors())) from error


def load(path: Path | None) -> Config:
    """The configuration in a file; the defaults when there is none.

    Raises:
        ConfigError: the file is missing, not TOML, or holds unknown keys or values out of range.
    """
    return Config() if path is None else parse(Config, read_toml(path), str(path))


def _violation(model: type[Section], item: Any) -> str:
    """One violation as a phrase that names the key and the fix."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] in {"missing", "value_error"}:  # their input is a whole table
        message = item["msg"].removeprefix("Value error, ")
        return f"{key}: {message[:1].lower()}{message[1:]}"
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg'][:1].lower()}{item['msg'][1:]}, not {item['input']!r}"
    *parents, last = item["loc"]
    near = difflib.get_close_matches(str(last), _known_keys(model, parents), n=1, cutoff=0)
    return f"{key}: unknown key, did you mean {'.'.join([*map(str, parents), *near])!r}?"


def _known_keys(model: Any, path: list[Any]) -> list[str]:
    """The keys of the section that a path of an error leads to."""
    for part in path:
        if isinstance(model, type) and issubclass(model, Section):
            model = model.model_fields[part].annotation if part in model.model_fields else model
        else:  # a table or a list of sections
            model = _section_in(model)
    section: Any = model if isinstance(model, type) else _section_in(model)
    return list(section.model_fields)


def _section_in(kind: Any) -> Any:
    """The last of what a table, a list or an option is made of."""
    return [part for part in kind.__args__ if part not in {type(None), ...}][-1]
