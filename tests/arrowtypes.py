"""A column of every type of Arrow's, and tables of them."""

import datetime as dt
import decimal
import uuid

import numpy as np
import pyarrow as pa

N = 40
_RNG = np.random.default_rng(0)
_WORDS = np.array(["north", "south", "east"])[np.arange(N) % 3].tolist()
_WHOLE = _RNG.integers(0, 50, N).tolist()
_STAMPS = [dt.datetime(2026, 1, 1) + dt.timedelta(hours=int(n)) for n in _RNG.integers(0, 999, N)]
_TENTHS = [decimal.Decimal(n) / 10 for n in _WHOLE]
_GAPS = [None if n % 9 == 4 else value for n, value in enumerate(_WORDS)]


def _extension(type_, storage):
    return pa.ExtensionArray.from_storage(type_, storage)


USED = {
    **{f"{t}": pa.array(_WHOLE, t) for t in (pa.int8(), pa.int32(), pa.uint16(), pa.uint64())},
    **{f"{t}": pa.array(np.array(_WHOLE, t.to_pandas_dtype())) for t in (pa.float16(), pa.float32())},
    **{
        name: pa.array(_TENTHS, getattr(pa, name)(6, 1))
        for name in ("decimal32", "decimal64", "decimal128", "decimal256")
    },
    **{f"{t}": pa.array(_GAPS, t) for t in (pa.string(), pa.large_string(), pa.string_view())},
    **{f"{t}": pa.array(_STAMPS).cast(t) for t in (pa.timestamp("s"), pa.timestamp("ns", "Europe/Vienna"))},
    **{f"{t}": pa.array([stamp.date() for stamp in _STAMPS], t) for t in (pa.date32(), pa.date64())},
    **{f"{t}": pa.array([stamp.time() for stamp in _STAMPS], t) for t in (pa.time32("s"), pa.time64("us"))},
    "duration": pa.array([dt.timedelta(minutes=n) for n in _WHOLE], pa.duration("ms")),
    "bool": pa.array([n % 2 == 0 for n in _WHOLE]),
    "bool8": _extension(pa.bool8(), pa.array([n % 2 for n in _WHOLE], pa.int8())),
    "json": _extension(pa.json_(pa.string()), pa.array(['"x"', '"y"'] * (N // 2))),
    "uuid": _extension(pa.uuid(), pa.array([uuid.UUID(int=n % 3).bytes for n in range(N)], pa.binary(16))),
    "opaque": _extension(pa.opaque(pa.int32(), "t", "v"), pa.array(_WHOLE, pa.int32())),
    "runs of numbers": pa.RunEndEncodedArray.from_arrays([9, 25, N], [1.5, None, 2.5]),
    "runs of views": pa.RunEndEncodedArray.from_arrays([9, N], pa.array(["a", "b"], pa.string_view())),
    "dictionary": pa.array(_GAPS).dictionary_encode(),
    "dictionary of 8 bits": pa.DictionaryArray.from_arrays(
        pa.array(np.arange(N) % 3, pa.int8()), pa.array(["unused", None, "x", "y"]).slice(0, 4)
    ),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array(np.arange(N) % 2, pa.uint16()), pa.array(["x", "y"], pa.string_view())
    ),
    "dictionary of numbers": pa.array([n % 4 for n in _WHOLE]).dictionary_encode(),
    "dictionary of decimals": pa.DictionaryArray.from_arrays(
        pa.array(np.arange(N) % 2), pa.array([decimal.Decimal("1.5"), None], pa.decimal64(6, 1))
    ),
    "dictionary of dates": pa.array([stamp.date() for stamp in _STAMPS[:4]] * (N // 4)).dictionary_encode(),
}
"""Columns that a model can use, by what they are."""

_NUMBERS = [[n, n] for n in _WHOLE]
REFUSED = {
    "list": pa.array(_NUMBERS),
    "large list": pa.array(_NUMBERS, pa.large_list(pa.int64())),
    "list view": pa.array(_NUMBERS, pa.list_view(pa.int64())),
    "large list view": pa.array(_NUMBERS, pa.large_list_view(pa.int64())),
    "fixed list": pa.array(_NUMBERS, pa.list_(pa.int64(), 2)),
    "list of views": pa.array([[word] for word in _WORDS], pa.list_(pa.string_view())),
    "struct": pa.array([{"a": n} for n in _WHOLE]),
    "map": pa.array([[("a", n)] for n in _WHOLE], pa.map_(pa.string(), pa.int64())),
    "sparse union": pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array(_WHOLE)]),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0] * N, pa.int8()), pa.array(range(N), pa.int32()), [pa.array(_WHOLE)]
    ),
    "binary": pa.array([b"x"] * N),
    "large binary": pa.array([b"x"] * N, pa.large_binary()),
    "binary view": pa.array([b"x"] * N, pa.binary_view()),
    "fixed binary": pa.array([b"xy"] * N, pa.binary(2)),
    "interval": pa.array([pa.MonthDayNano([1, n, 0]) for n in _WHOLE]),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((N, 2, 2))),
    "runs of lists": pa.RunEndEncodedArray.from_arrays([9, N], pa.array([[1], [2]])),
}
"""Columns that no model can use."""

LEFT_OUT = [*REFUSED, "null"]


def every_type():
    """All of them, and one that is null, in two chunks, beside numbers."""
    numbers = np.random.default_rng(1).normal(size=N)
    columns = {"number": pa.array(numbers), **USED, **REFUSED, "null": pa.nulls(N)}
    table = pa.table(columns)
    return pa.concat_tables([table.slice(0, 17), table.slice(17)])


def in_parquet(table):
    """The columns of a table that a Parquet file can hold."""
    cannot = [
        field.name
        for field in table.schema
        if pa.types.is_union(field.type)
        or pa.types.is_run_end_encoded(field.type)
        or pa.types.is_interval(field.type)
        or (pa.types.is_dictionary(field.type) and field.name != "dictionary")
    ]
    return table.drop_columns(cannot)
