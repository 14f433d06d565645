"""Files of rows of any format: one to read, or one to write, by the suffix of its name.

The suffixes are the keys of `upland.catalogue.FORMATS`; each names a module with a `FORMAT`, which is what
reads such a file and, where it can, writes it. `open_source` opens a file, `TableWriter` writes one.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pyarrow as pa

from upland.catalogue import FORMATS, load
from upland.io.cells import USUAL, CellOptions
from upland.io.dialect import PLAIN, Dialect
from upland.io.folders import ManySource
from upland.io.places import Place, row_files, shown
from upland.io.remote import address_of, fetch
from upland.io.replace import check_target, replacing
from upland.io.source import Source


class Sink(ABC):
    """Writes tables of one schema into an open file, called with `(file, path, schema, dialect)`: the binary
    file, which stays open, the name that it will have, the columns, and how text is laid out.
    """

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """Append the rows of a table."""

    @abstractmethod
    def close(self) -> None:
        """Write what is due at the end; the file stays open."""


@dataclass(frozen=True)
class Format:
    """A format of rows.

    Args:
        source: Path, and how cells of text are written, to a reader of the file there.
        sink: File, path, schema and dialect to a writer; None for a format that is only read.
        typed: Whether the columns of a file have types.
    """

    source: Callable[[Path, CellOptions], Source]
    sink: Callable[[IO[bytes], Path, pa.Schema, Dialect], Sink] | None = None
    typed: bool = True


def suffix_of(path: str | Path, writable: bool = False) -> str:
    """The suffix by which a file's format is known, in lower case, such as .csv.gz.

    Args:
        path: The file; it need not exist.
        writable: Whether the format must be one that can be written.

    Raises:
        ValueError: No format has such a suffix; the format can only be read. All that have are listed.
    """
    name = Path(path).name.casefold()
    suffix = max((suffix for suffix in FORMATS if name.endswith(suffix)), key=len, default=None)
    if suffix is None:
        raise ValueError(f"{path}: unknown format; known are {', '.join(FORMATS)}")
    if writable and _format(suffix).sink is None:
        able = [other for other in FORMATS if _format(other).sink is not None]
        raise ValueError(f"{path}: {suffix} files can only be read; known for writing are {', '.join(able)}")
    return suffix


def _format(suffix: str) -> Format:
    found = load(f"{FORMATS[suffix]}:FORMAT")
    assert isinstance(found, Format)
    return found


def holds_types(path: str | Path) -> bool:
    """Whether the columns of a file of such a suffix have types; raises ValueError for an unknown suffix."""
    return _format(suffix_of(path)).typed


def open_source(place: Place, cells: CellOptions = USUAL) -> Source:
    """Open rows: a file, several of the same columns, a pattern of names, or a folder.

    Args:
        place: A path, a pattern such as `data/*.parquet`, or a list of paths.
        cells: How cells of text are written.

    Raises:
        FileNotFoundError, PermissionError: As the file system says, with the path.
        ValueError: For an unknown suffix, an empty file, a file without rows, a damaged one, text that is not
            UTF-8; files of several formats, or with other columns.
    """
    files = row_files(place)
    if len(files) == 1 and not files[0].parts:
        return _open_file(files[0].path, cells)
    modules = Counter(FORMATS[suffix_of(file.path)] for file in files)
    if len(modules) > 1:
        suffixes = Counter(suffix_of(file.path) for file in files)
        held = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.items())
        raise ValueError(f"{shown(place)} holds files of several formats, {held}: keep those of one")
    return ManySource(Path(shown(place)), files, lambda path: _open_file(path, cells))


def blanks_at(place: Place) -> tuple[str, ...]:
    """Texts that stand for a missing cell in the files at a place; none where cells have types."""
    return _open_file(row_files(place)[0].path, USUAL).nulls


def _open_file(path: Path, cells: CellOptions) -> Source:
    if (address := address_of(path)) is None:
        return _open_local(path, cells)
    suffix_of(path)
    folder = tempfile.mkdtemp(prefix="upland-")
    try:
        source = _open_local(fetch(address, Path(folder)), cells)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(source, shutil.rmtree, folder, True)
    return source


def _open_local(path: Path, cells: CellOptions) -> Source:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name the files in it")
    found = _format(suffix_of(path))
    _check_readable(path)
    return found.source(path, cells)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ValueError(f"{path} is empty")
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read it") from None


class TableWriter:
    r"""Writes tables with one schema into one file by its suffix, whole or not at all; a context manager.

    Args:
        path: The file to write.
        overwrite: Whether an existing file may be replaced.
        dialect: How text is laid out, in a format of text.

    Raises:
        OSError: As `upland.io.replace.replacing`.
        ValueError: Unknown suffix, or one of a format that is only read; another schema than the first
            table's; nothing was written.

    Examples:
        >>> import tempfile, pathlib, pyarrow
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
        >>> with TableWriter(path) as writer:
        ...     writer.write(pyarrow.table({"a": [1, 2]}))
        >>> path.read_text()
        'a\n1\n2\n'
    """

    def __init__(self, path: str | Path, overwrite: bool = False, dialect: Dialect = PLAIN) -> None:
        self.path = Path(path)
        self._dialect = dialect
        self._overwrite = overwrite
        self._sink_of = _format(suffix_of(self.path, writable=True)).sink
        check_target(self.path, overwrite)
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._schema: pa.Schema | None = None
        self._sink: Sink | None = None

    def __enter__(self) -> Self:
        self._file = self._stack.enter_context(replacing(self.path, self._overwrite))
        return self

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table; the first call sets the columns."""
        if self._file is None:
            raise ValueError("a TableWriter writes inside a with block")
        if self._sink is None:
            assert self._sink_of is not None
            self._schema = table.schema
            self._sink = self._sink_of(self._file, self.path, table.schema, self._dialect)
            self._stack.callback(self._sink.close)
        elif not table.schema.equals(self._schema):
            raise ValueError(f"{self.path}: this table's columns differ from the first one's")
        self._sink.write(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file = None
        if kind is None and self._sink is None:
            nothing = ValueError(f"{self.path}: there were no rows to write")
            self._stack.__exit__(ValueError, nothing, None)
            raise nothing
        self._stack.__exit__(kind, error, trace)
