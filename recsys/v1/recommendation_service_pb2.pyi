import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from recsys.v1 import event_pb2 as _event_pb2
from recsys.v1 import rules_pb2 as _rules_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExcludePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXCLUDE_POLICY_UNSPECIFIED: _ClassVar[ExcludePolicy]
    EXCLUDE_POLICY_NONE: _ClassVar[ExcludePolicy]
    EXCLUDE_POLICY_PURCHASED: _ClassVar[ExcludePolicy]
    EXCLUDE_POLICY_SEEN: _ClassVar[ExcludePolicy]

class ServedFrom(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVED_FROM_UNSPECIFIED: _ClassVar[ServedFrom]
    SERVED_FROM_MODEL: _ClassVar[ServedFrom]
    SERVED_FROM_USER_CACHE: _ClassVar[ServedFrom]
    SERVED_FROM_POPULAR_CACHE: _ClassVar[ServedFrom]
    SERVED_FROM_FALLBACK: _ClassVar[ServedFrom]
EXCLUDE_POLICY_UNSPECIFIED: ExcludePolicy
EXCLUDE_POLICY_NONE: ExcludePolicy
EXCLUDE_POLICY_PURCHASED: ExcludePolicy
EXCLUDE_POLICY_SEEN: ExcludePolicy
SERVED_FROM_UNSPECIFIED: ServedFrom
SERVED_FROM_MODEL: ServedFrom
SERVED_FROM_USER_CACHE: ServedFrom
SERVED_FROM_POPULAR_CACHE: ServedFrom
SERVED_FROM_FALLBACK: ServedFrom

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "slate_size", "placement", "seed_item_ids", "recent_events", "filter", "exclude_item_ids", "exclude_policy", "boosts", "diversity", "explain", "variant_overrides", "pins", "caps")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SLATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    SEED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    RECENT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_POLICY_FIELD_NUMBER: _ClassVar[int]
    BOOSTS_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    VARIANT_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    PINS_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    slate_size: int
    placement: str
    seed_item_ids: _containers.RepeatedScalarFieldContainer[str]
    recent_events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    filter: _rules_pb2.Condition
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    exclude_policy: ExcludePolicy
    boosts: _containers.RepeatedCompositeFieldContainer[_rules_pb2.Boost]
    diversity: float
    explain: bool
    variant_overrides: _containers.RepeatedCompositeFieldContainer[ExperimentVariant]
    pins: _containers.RepeatedCompositeFieldContainer[_rules_pb2.Pin]
    caps: _containers.RepeatedCompositeFieldContainer[_rules_pb2.Cap]
    def __init__(self, user_id: _Optional[str] = ..., slate_size: _Optional[int] = ..., placement: _Optional[str] = ..., seed_item_ids: _Optional[_Iterable[str]] = ..., recent_events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., filter: _Optional[_Union[_rules_pb2.Condition, _Mapping]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., exclude_policy: _Optional[_Union[ExcludePolicy, str]] = ..., boosts: _Optional[_Iterable[_Union[_rules_pb2.Boost, _Mapping]]] = ..., diversity: _Optional[float] = ..., explain: _Optional[bool] = ..., variant_overrides: _Optional[_Iterable[_Union[ExperimentVariant, _Mapping]]] = ..., pins: _Optional[_Iterable[_Union[_rules_pb2.Pin, _Mapping]]] = ..., caps: _Optional[_Iterable[_Union[_rules_pb2.Cap, _Mapping]]] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("recommendation_id", "items", "bundle_id", "assignments", "served_from", "degraded", "stage_timings")
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FROM_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STAGE_TIMINGS_FIELD_NUMBER: _ClassVar[int]
    recommendation_id: str
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    bundle_id: str
    assignments: _containers.RepeatedCompositeFieldContainer[ExperimentVariant]
    served_from: ServedFrom
    degraded: _containers.RepeatedScalarFieldContainer[str]
    stage_timings: _containers.RepeatedCompositeFieldContainer[StageTiming]
    def __init__(self, recommendation_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ..., bundle_id: _Optional[str] = ..., assignments: _Optional[_Iterable[_Union[ExperimentVariant, _Mapping]]] = ..., served_from: _Optional[_Union[ServedFrom, str]] = ..., degraded: _Optional[_Iterable[str]] = ..., stage_timings: _Optional[_Iterable[_Union[StageTiming, _Mapping]]] = ...) -> None: ...

class RecommendedItem(_message.Message):
    __slots__ = ("item_id", "rank", "score", "sources", "reasons", "propensity")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    rank: int
    score: float
    sources: _containers.RepeatedScalarFieldContainer[str]
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    propensity: float
    def __init__(self, item_id: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., sources: _Optional[_Iterable[str]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., propensity: _Optional[float] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("rule", "history", "feature")
    RULE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    rule: RuleReason
    history: HistoryReason
    feature: FeatureReason
    def __init__(self, rule: _Optional[_Union[RuleReason, _Mapping]] = ..., history: _Optional[_Union[HistoryReason, _Mapping]] = ..., feature: _Optional[_Union[FeatureReason, _Mapping]] = ...) -> None: ...

class RuleReason(_message.Message):
    __slots__ = ("name", "effect")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    name: str
    effect: str
    def __init__(self, name: _Optional[str] = ..., effect: _Optional[str] = ...) -> None: ...

class HistoryReason(_message.Message):
    __slots__ = ("item_id", "contribution")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    contribution: float
    def __init__(self, item_id: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class FeatureReason(_message.Message):
    __slots__ = ("name", "value", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    contribution: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class ExperimentVariant(_message.Message):
    __slots__ = ("experiment", "variant")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    variant: str
    def __init__(self, experiment: _Optional[str] = ..., variant: _Optional[str] = ...) -> None: ...

class StageTiming(_message.Message):
    __slots__ = ("stage", "duration")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    stage: str
    duration: _duration_pb2.Duration
    def __init__(self, stage: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SimilarItemsRequest(_message.Message):
    __slots__ = ("item_ids", "slate_size", "filter", "exclude_item_ids")
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    SLATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    slate_size: int
    filter: _rules_pb2.Condition
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., slate_size: _Optional[int] = ..., filter: _Optional[_Union[_rules_pb2.Condition, _Mapping]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SimilarItemsResponse(_message.Message):
    __slots__ = ("recommendation_id", "items", "bundle_id", "assignments", "served_from", "degraded", "stage_timings")
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FROM_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STAGE_TIMINGS_FIELD_NUMBER: _ClassVar[int]
    recommendation_id: str
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    bundle_id: str
    assignments: _containers.RepeatedCompositeFieldContainer[ExperimentVariant]
    served_from: ServedFrom
    degraded: _containers.RepeatedScalarFieldContainer[str]
    stage_timings: _containers.RepeatedCompositeFieldContainer[StageTiming]
    def __init__(self, recommendation_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ..., bundle_id: _Optional[str] = ..., assignments: _Optional[_Iterable[_Union[ExperimentVariant, _Mapping]]] = ..., served_from: _Optional[_Union[ServedFrom, str]] = ..., degraded: _Optional[_Iterable[str]] = ..., stage_timings: _Optional[_Iterable[_Union[StageTiming, _Mapping]]] = ...) -> None: ...

class RankItemsRequest(_message.Message):
    __slots__ = ("user_id", "item_ids")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[str] = ..., item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RankItemsResponse(_message.Message):
    __slots__ = ("recommendation_id", "items", "bundle_id", "assignments", "served_from", "degraded", "stage_timings")
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FROM_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STAGE_TIMINGS_FIELD_NUMBER: _ClassVar[int]
    recommendation_id: str
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    bundle_id: str
    assignments: _containers.RepeatedCompositeFieldContainer[ExperimentVariant]
    served_from: ServedFrom
    degraded: _containers.RepeatedScalarFieldContainer[str]
    stage_timings: _containers.RepeatedCompositeFieldContainer[StageTiming]
    def __init__(self, recommendation_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ..., bundle_id: _Optional[str] = ..., assignments: _Optional[_Iterable[_Union[ExperimentVariant, _Mapping]]] = ..., served_from: _Optional[_Union[ServedFrom, str]] = ..., degraded: _Optional[_Iterable[str]] = ..., stage_timings: _Optional[_Iterable[_Union[StageTiming, _Mapping]]] = ...) -> None: ...
