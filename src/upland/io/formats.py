"""The door to files of rows: open one to read, or write one.

`open_source` looks at a file and gives the `Source` for its kind; `TableWriter` is the way out.
"""

from __future__ import annotations

from pathlib import Path

from upland.io.columnar import ArrowSource, ParquetSource
from upland.io.csv import CsvSource
from upland.io.source import Source, suffix_of
from upland.io.writer import TableWriter

__all__ = ["Source", "TableWriter", "open_source", "suffix_of"]


def open_source(path: str | Path) -> Source:
    """Open a file of rows by its suffix: .csv, .csv.gz, .tsv, .parquet, .pq, .arrow, .feather.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: As the file system says, with the path.
        ValueError: For an unknown suffix, an empty file, a file without rows, a damaged one, text that is not
            UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name one file in it")
    kind = suffix_of(path)
    _check_readable(path)
    if kind == "parquet":
        return ParquetSource(path)
    if kind == "arrow":
        return ArrowSource(path)
    return CsvSource(path)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ValueError(f"{path} is empty")
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read it") from None
