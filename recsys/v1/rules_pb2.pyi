from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Condition(_message.Message):
    __slots__ = ("any_of", "range", "flag", "within_category", "all_of", "negated")
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    WITHIN_CATEGORY_FIELD_NUMBER: _ClassVar[int]
    ALL_OF_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    any_of: AnyOf
    range: Range
    flag: Flag
    within_category: str
    all_of: Conditions
    negated: Condition
    def __init__(self, any_of: _Optional[_Union[AnyOf, _Mapping]] = ..., range: _Optional[_Union[Range, _Mapping]] = ..., flag: _Optional[_Union[Flag, _Mapping]] = ..., within_category: _Optional[str] = ..., all_of: _Optional[_Union[Conditions, _Mapping]] = ..., negated: _Optional[_Union[Condition, _Mapping]] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class AnyOf(_message.Message):
    __slots__ = ("attribute", "values")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attribute: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("attribute", "low", "high")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    low: float
    high: float
    def __init__(self, attribute: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Flag(_message.Message):
    __slots__ = ("attribute", "value")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    value: bool
    def __init__(self, attribute: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...

class Boost(_message.Message):
    __slots__ = ("name", "condition", "factor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    condition: Condition
    factor: float
    def __init__(self, name: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., factor: _Optional[float] = ...) -> None: ...

class Pin(_message.Message):
    __slots__ = ("name", "item_id", "rank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    item_id: str
    rank: int
    def __init__(self, name: _Optional[str] = ..., item_id: _Optional[str] = ..., rank: _Optional[int] = ...) -> None: ...

class Cap(_message.Message):
    __slots__ = ("name", "attribute", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    attribute: str
    limit: int
    def __init__(self, name: _Optional[str] = ..., attribute: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...
