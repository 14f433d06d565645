"""Bodies that are files: CSV, Arrow, Parquet and images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from upland.data.table.reader import TableReader
from upland.io.cells import USUAL
from upland.io.formats import open_source
from upland.io.images import read_header
from upland.serve.bodies import Body
from upland.serve.errors import Refusal, refusal_of

if TYPE_CHECKING:
    from upland.serve.models import Served

LOG = logging.getLogger("upland.serve")
SUFFIXES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/vnd.apache.arrow.stream": ".arrow",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/vnd.apache.parquet": ".parquet",
    "application/parquet": ".parquet",
    "application/x-parquet": ".parquet",
}
"""Content types of bodies that are files of rows, and how such a file ends."""

IMAGE = "image"
"""The column of a table that holds images."""


def file_body(data: bytes, content_type: str, served: Served, most: int) -> Body:
    """The rows of a body that is a file, or the images in its column `image`.

    Args:
        data: the body.
        content_type: one of `SUFFIXES`.
        served: the model.
        most: rows that are taken.

    Raises:
        Refusal: it is no such file, or damaged; it holds more rows, or becomes more bytes than it may.
    """
    if not data:
        raise Refusal(400, "the body is empty")
    modality, reader = served.detector.modality, served.detector.plan_.reader
    with _as_file(data, SUFFIXES[content_type]) as path:
        source = open_source(path, reader.cells if isinstance(reader, TableReader) else USUAL)
        if source.n_rows is not None:
            check_rows(source.n_rows, most)
        pieces, count = [], 0
        for raw, typed in source.pairs(served.schema if modality == "table" else None):
            count += raw.num_rows
            check_rows(count, most)
            pieces.append(raw if modality == "image" else typed)
        if not count:
            raise Refusal(422, "the body has columns but no rows")
        table = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
    if modality == "image":
        return images_of(table)
    return Body(count, table, None if _coded(table.schema) else ("table", str(table.schema)))


def check_rows(count: int, most: int) -> None:
    """Refuse more rows than a request may have; raises Refusal, 413."""
    if count > most:
        raise Refusal(413, f"a request may hold {most:,} rows, and this one holds {count:,} or more")


def images_of(table: pa.Table) -> Body:
    """The images of a table's column `image`: as bytes, or as structs with a field of bytes.

    A text would be a path, which no client may have opened.

    Raises:
        Refusal: there is no such column, or it holds something else.
    """
    if IMAGE not in table.column_names:
        names = ", ".join(map(repr, table.column_names))
        raise Refusal(422, f"the model is of images: a column 'image' holds their bytes; there are {names}")
    images = []
    for row, value in enumerate(table.column(IMAGE).to_pylist()):
        found = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(found, bytes):
            raise Refusal(422, f"column 'image', row {row + 1} holds no bytes of an image")
        images.append(found)
    return image_body(images)


def image_body(images: list[bytes]) -> Body:
    """Encoded images, such as PNG or JPEG, as a body.

    Raises:
        Refusal: there is none, or one cannot be read.
    """
    if not images or not all(images):
        raise Refusal(400, "the body is empty: send the bytes of an image, or several as multipart/form-data")
    for number, image in enumerate(images):
        try:
            read_header(image, f"image {number}")
        except ValueError as error:
            raise refusal_of(error) from None
    return Body(len(images), images, "images")


@contextmanager
def _as_file(data: bytes, suffix: str) -> Iterator[Path]:
    """The body in a file, since what reads formats reads files; no message names its path."""
    with tempfile.TemporaryDirectory(prefix="upland-serve-") as folder:
        path = Path(folder) / f"body{suffix}"
        try:
            path.write_bytes(data)
        except OSError as error:  # a full disk, as a rule
            LOG.exception("a body cannot be written to a file")
            raise Refusal(
                507, "the server has no space to unpack the body: send JSON, or try later"
            ) from error
        try:
            yield path
        except (ValueError, TypeError, OSError, pa.ArrowException) as error:
            raise refusal_of(error, {str(path): "the body", folder: "the server"}) from error


def _coded(schema: pa.Schema) -> bool:
    """Whether a column has a type that tables of several requests cannot simply be joined by."""
    return any(pa.types.is_dictionary(field.type) or pa.types.is_nested(field.type) for field in schema)
