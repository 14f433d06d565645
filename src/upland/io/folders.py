"""Several files of rows with the same columns as one: a folder, a pattern of names, or a list of files.

Columns may stand in another order in each file, and numbers may be of another width. A folder called
`key=value` gives the rows in it a column. One file is open at a time; its groups are groups of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from upland.io.casting import NULLS
from upland.io.places import RowFile
from upland.io.plain import plain_column, plain_types
from upland.io.schema import Schema
from upland.io.source import PIECE, Source

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # 007 is no number but a code

Open = Callable[[Path], Source]
Types = dict[str, pa.DataType]


@dataclass(frozen=True)
class _Part:
    """What was seen of a file when it was first opened: its groups, and its types where it has any."""

    file: RowFile
    sizes: list[int] | None
    types: pa.Schema | None


class ManySource(Source):
    """Files of one format and of the same columns, one after another.

    Args:
        path: What messages call them all.
        files: At least one.
        open_file: Opens one of them.

    Raises:
        ValueError: A file with other columns or types than the first; it is named. As `open_file`.
    """

    def __init__(self, path: Path, files: Sequence[RowFile], open_file: Open) -> None:
        self._open_file = open_file
        self._opened: tuple[int, Source] | None = None
        first = open_file(files[0].path)
        self.nulls, self.dialect = first.nulls, first.dialect
        names = _names_in(first, files[0])
        self._parts = [self._seen(file, names) for file in files]
        self._keys: Types = {
            key: type_of_key([file.parts[key] for file in files]) for key in names if key not in first.names
        }
        self._types = {} if self.nulls else _common_types(self._parts, plain=True)
        self._raw_types = {} if self.nulls else _common_types(self._parts, plain=False)
        self._table: pa.Table | None = None
        sizes = [part.sizes for part in self._parts if part.sizes is not None]
        known = len(sizes) == len(self._parts)
        self._groups = [(number, group) for number, part in enumerate(sizes) for group in range(len(part))]
        super().__init__(path, names, [size for part in sizes for size in part] if known else None)

    @property
    def types(self) -> pa.Schema | None:
        """See `Source.types`."""
        return pa.schema([*(self._types | self._keys).items()]) if self.typed else None

    def read(self) -> pa.Table:
        """See `Source.read`; in files of text a column is text where its types do not go together."""
        if self.typed:
            return super().read()
        if self._table is None:
            tables = [self._whole(self._source(n).read(), n, self._keys) for n in range(len(self._parts))]
            texts = [
                name for name in self.names if _common([table.field(name).type for table in tables]) is None
            ]
            if texts:
                tables = [self._with_texts(table, n, texts) for n, table in enumerate(tables)]
            self._table = pa.concat_tables(tables, promote_options="permissive")
            self._sizes, self._opened = [self._table.num_rows], None
        return self._table

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`."""
        if schema is None and not self.typed:
            yield from super().pairs(size=size)
            return
        used = () if schema is None else schema.columns
        texts = {column.name for column in used if column.kind == "categorical"}
        keys = {key: pa.string() if key in texts else type_ for key, type_ in self._keys.items()}
        raw_keys = self._keys if self.typed else dict.fromkeys(self._keys, pa.string())
        for number in range(len(self._parts)):
            for raw, typed in self._source(number).pairs(schema, size):
                yield (
                    _cast(self._whole(raw, number, raw_keys), self._raw_types),
                    _cast(self._whole(typed, number, keys), self._types),
                )

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        if not self.typed:
            table = self.read()
            yield from (table.slice(start, size) for start in range(0, table.num_rows, size))
            return
        number, inside = self._groups[group]
        for piece in self._source(number).pieces(inside, size):
            yield _cast(self._whole(piece, number, self._keys), self._types)

    def _seen(self, file: RowFile, names: Sequence[str]) -> _Part:
        source = self._open_file(file.path)
        here = _names_in(source, file)
        other = f"{file.path} has other columns than the first file"
        if lacking := [name for name in names if name not in here]:
            raise ValueError(f"{other}: it lacks {_listed(lacking)}")
        if more := [name for name in here if name not in names]:
            raise ValueError(f"{other}: it has {_listed(more)} too")
        return _Part(file, source.sizes, source.types)

    def _source(self, number: int) -> Source:
        """A file, opened; the one before it is let go."""
        if self._opened is None or self._opened[0] != number:
            self._opened = number, self._open_file(self._parts[number].file.path)
        return self._opened[1]

    def _whole(self, table: pa.Table, number: int, keys: Types) -> pa.Table:
        """Rows of a file with the columns that its folders give, in the order of the first file."""
        for key, type_ in keys.items():
            value = self._parts[number].file.parts[key]
            cell = pa.scalar(value, pa.string()).cast(type_)
            table = table.append_column(key, pa.repeat(cell, table.num_rows))
        more = [name for name in table.column_names if name not in self.names]
        return table.select([*self.names, *more])

    def _with_texts(self, table: pa.Table, number: int, names: Sequence[str]) -> pa.Table:
        """The same rows with some columns as the cells stand in the file."""
        source = self._source(number)
        nothing = Schema((), tuple(source.names), "names")
        raw = pa.concat_tables([raw for raw, _ in source.pairs(nothing)])
        for name in names:
            if name in raw.column_names:
                cells = raw.column(name)
                cells = pc.if_else(pc.is_in(cells, pa.array(NULLS)), pa.scalar(None, pa.string()), cells)
                table = table.set_column(table.column_names.index(name), name, cells)
        return table


def _names_in(source: Source, file: RowFile) -> list[str]:
    names = list(source.names)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{file.path}: duplicate column names: {_listed(twice)}")
    return [*names, *(key for key in file.parts if key not in names)]


def type_of_key(values: Sequence[str | None]) -> pa.DataType:
    """Whole numbers where all values are, or text."""
    present = [value for value in values if value is not None]
    whole = all(_WHOLE.fullmatch(value) for value in present)
    return pa.int64() if present and whole else pa.string()


def _common_types(parts: Sequence[_Part], plain: bool) -> Types:
    """The type of each column that all files can be brought to: their own where it is the same.

    Raises:
        ValueError: There is none; column and file are named.
    """
    schemas = [part.types for part in parts if part.types is not None]
    found: Types = {}
    for name in schemas[0].names:
        types = [schema.field(name).type for schema in schemas]
        if plain or len(set(types)) > 1:
            types = plain_types(types)
        type_ = _common(types)
        if type_ is None:
            odd = next(number for number, other in enumerate(types) if _common([types[0], other]) is None)
            raise ValueError(
                f"{parts[odd].file.path}: column {name!r} has the type {types[odd]}, "
                f"but {types[0]} in {parts[0].file.path}"
            )
        found[name] = type_
    return found


def _common(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """A type that values of all these types can be brought to; None where there is none."""
    if len(set(types)) == 1:
        return types[0]
    types = [type_.value_type if pa.types.is_dictionary(type_) else type_ for type_ in types]
    try:
        schemas = [pa.schema([("column", type_)]) for type_ in dict.fromkeys(types)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _cast(table: pa.Table, types: Types) -> pa.Table:
    for position, name in enumerate(table.column_names):
        if name in types and table.field(position).type != types[name]:
            column = plain_column(table.column(position))
            table = table.set_column(position, name, column.cast(types[name]))
    return table


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{', '.join(map(repr, names[:10]))}{more}"
