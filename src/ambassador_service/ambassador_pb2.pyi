from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidateRequest(_message.Message):
    __slots__ = ("ambassador_ids",)
    AMBASSADOR_IDS_FIELD_NUMBER: _ClassVar[int]
    ambassador_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ambassador_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("valid_ambassadors", "invalid_ids")
    VALID_AMBASSADORS_FIELD_NUMBER: _ClassVar[int]
    INVALID_IDS_FIELD_NUMBER: _ClassVar[int]
    valid_ambassadors: _containers.RepeatedCompositeFieldContainer[ValidAmbassador]
    invalid_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, valid_ambassadors: _Optional[_Iterable[_Union[ValidAmbassador, _Mapping]]] = ..., invalid_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ValidAmbassador(_message.Message):
    __slots__ = ("ambassador_id", "price")
    AMBASSADOR_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    ambassador_id: int
    price: int
    def __init__(self, ambassador_id: _Optional[int] = ..., price: _Optional[int] = ...) -> None: ...
