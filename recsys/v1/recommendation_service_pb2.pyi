import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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
    __slots__ = ("user_id", "slate_size", "placement", "seed_item_ids", "exclude_item_ids", "exclude_policy", "variant_overrides")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SLATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    SEED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_POLICY_FIELD_NUMBER: _ClassVar[int]
    VARIANT_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    slate_size: int
    placement: str
    seed_item_ids: _containers.RepeatedScalarFieldContainer[str]
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    exclude_policy: ExcludePolicy
    variant_overrides: _containers.RepeatedCompositeFieldContainer[ExperimentVariant]
    def __init__(self, user_id: _Optional[str] = ..., slate_size: _Optional[int] = ..., placement: _Optional[str] = ..., seed_item_ids: _Optional[_Iterable[str]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., exclude_policy: _Optional[_Union[ExcludePolicy, str]] = ..., variant_overrides: _Optional[_Iterable[_Union[ExperimentVariant, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("item_id", "rank", "score", "sources")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    rank: int
    score: float
    sources: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_id: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., sources: _Optional[_Iterable[str]] = ...) -> None: ...

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
