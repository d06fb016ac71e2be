"""Arrow tables of Python values, built from buffers.

pyarrow's own converters import pandas if it is there, for its sake alone: half a second and 45 MB for each process.
Knows the types that shards and plans have, and no others.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

_INTEGERS = {pa.int32(): np.dtype(np.int32), pa.int64(): np.dtype(np.int64)}
_MAX_BYTES = 2**31 - 1


def table_of(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Returns a table of columns of equal length; only a timestamp may be None.

    Raises:
        OverflowError: a column of texts or bytes has 2 GB or more.
    """
    return pa.Table.from_arrays([_array(field.type, columns[field.name]) for field in schema], schema=schema)


def columns_of(items: Sequence[object], names: Iterable[str]) -> dict[str, list[Any]]:
    """Returns the fields of dataclasses, each as a column."""
    return {name: list(map(attrgetter(name), items)) for name in names}


def _array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    size = len(values)
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        children = [_array(field.type, [value[field.name] for value in values]) for field in fields]
        return pa.Array.from_buffers(kind, size, [None], children=children)
    if pa.types.is_list(kind):
        entries = [entry for value in values for entry in value]
        offsets = _offsets(map(len, values), size)
        return pa.Array.from_buffers(kind, size, [None, offsets], children=[_array(kind.value_type, entries)])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        contents = [value.encode() for value in values] if pa.types.is_string(kind) else values
        return pa.Array.from_buffers(
            kind, size, [None, _offsets(map(len, contents), size), pa.py_buffer(b"".join(contents))]
        )
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, size, [None, _bits(values)])
    if pa.types.is_timestamp(kind):
        known = _bits([value is not None for value in values])
        return pa.Array.from_buffers(
            kind, size, [known, pa.py_buffer(np.array([*map(_microseconds, values)], np.int64))]
        )
    return pa.Array.from_buffers(kind, size, [None, pa.py_buffer(np.array(values, _INTEGERS[kind]))])


def _offsets(lengths: Iterable[int], size: int) -> pa.Buffer:
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, size), out=offsets[1:])
    if offsets[-1] > _MAX_BYTES:
        raise OverflowError(f"a column of {offsets[-1]} bytes, at most {_MAX_BYTES} expected")
    return pa.py_buffer(offsets.astype(np.int32))


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little"))


def _microseconds(moment: datetime | None) -> int:
    """Counts from 1970, in whole numbers: a float would not hold them all."""
    if moment is None:
        return 0
    since = moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
