"""The body of a request, by its content type, as data of a model."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from upland.catalogue import MODALITIES
from upland.data.image.feature_encoder import pixel_encoder
from upland.serve.answers import JSON
from upland.serve.bodies import Body, Plain, check_lengths, json_body
from upland.serve.errors import Refusal
from upland.serve.files import SUFFIXES, check_rows, file_body, image_body
from upland.serve.models import Served
from upland.serve.settings import Settings

LINES = "application/x-ndjson"
FORM = "multipart/form-data"
KNOWN = (JSON, LINES, *SUFFIXES, "image/png", "image/jpeg", FORM)


def body_of(data: bytes, content_type: str, served: Served, settings: Settings) -> Body:
    """The data that a body holds, for a model.

    Args:
        data: the body.
        content_type: as the request says.
        served: the model.
        settings: with the limit of rows.

    Raises:
        Refusal: 400 for what cannot be read, 413 for too many rows, 415 for an unknown content type, 422 for
            what is no data of the model.
    """
    kind = content_type.partition(";")[0].strip().lower()
    modality = served.detector.modality
    if kind == JSON or (kind.startswith("application/") and kind.endswith("+json")):
        body = _fitting(json_body(data, served.cells), served)
    elif kind == LINES:
        lines = [line for line in data.splitlines() if line.strip()]
        body = _fitting(json_body(b"[" + b",".join(lines) + b"]", served.cells), served)
    elif kind in SUFFIXES:
        body = file_body(data, kind, served, settings.rows)
    elif modality == "image" and kind.startswith("image/"):
        body = image_body([data])
    elif kind in (FORM, "image/png", "image/jpeg"):
        raise Refusal(415, f"the model is of {MODALITIES[modality]}, not of images")
    else:
        raise Refusal(415, f"unknown Content-Type {kind[:80]!r}; known are {', '.join(KNOWN)}")
    check_rows(body.size, settings.rows)
    return body


def _fitting(body: Body, served: Served) -> Body:
    """Columns or an array as the model takes them."""
    modality = served.detector.modality
    if isinstance(body.data, Plain):
        return _images(body.data) if modality == "image" else body
    if modality == "table":
        return _columns(body.data, served)
    return body if modality == "sequence" else _pixels(body, served)


def _pixels(body: Body, served: Served) -> Body:
    """An array of images in the type of the model, since JSON has none."""
    encoder, values = pixel_encoder(served.detector.encoder_), body.data
    if values.ndim < 3:
        raise Refusal(422, f"an array of images is (N, H, W) or (N, H, W, C), not {values.shape}")
    if values.dtype.kind in "iu" and encoder.dtype.kind == "u":
        most = np.iinfo(encoder.dtype).max
        if values.min() < 0 or values.max() > most:
            raise Refusal(422, f"pixels are whole numbers from 0 to {most} for this model")
    elif values.dtype.kind not in "iu" or encoder.dtype.kind != "f":
        return body
    return body._replace(data=values.astype(encoder.dtype))


def _columns(values: Any, served: Served) -> Body:
    """Rows without names, by position."""
    if served.detector.encoder_.named:
        raise Refusal(422, "the columns of the model have names: send records or columns, not lists alone")
    if values.ndim != 2:
        raise Refusal(422, f"rows are lists of numbers, and these are nested {values.ndim} deep")
    return Body(len(values), values.astype(np.float64), ("array", values.shape[1]))


def _images(plain: Plain) -> Body:
    """Images as texts in base64, in a column of that name."""
    if plain.names != ("image",):
        raise Refusal(422, 'the model is of images: send records {"image": TEXT}, the text in base64')
    images = []
    for row, text in enumerate(value for (value,) in plain.rows):
        try:
            images.append(b64decode(text, validate=True))
        except (Base64Error, TypeError, ValueError):
            raise Refusal(422, f"row {row + 1} of 'image' is no text in base64") from None
    return image_body(images)


async def form_body(data: bytes, content_type: str, served: Served, most: int) -> Body:
    """The images of a form, in their order.

    Args:
        data: the body.
        content_type: with the boundary of the parts.
        served: a model of images.
        most: images at most.

    Raises:
        Refusal: the model is of something else, or the body is no form, or holds more.
    """
    if served.detector.modality != "image":
        raise Refusal(415, f"the model is of {MODALITIES[served.detector.modality]}, and forms hold images")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield data
        yield b""

    headers = Headers({"content-type": content_type})
    try:
        parser = MultiPartParser(headers, stream(), max_files=most, max_fields=0)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Refusal(400, f"the body is no form that can be read: {str(error)[:200]}") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return image_body([await file.read() for file in files])
    finally:
        await form.close()


def inputs_as_body(inputs: Mapping[str, Any], served: Served) -> Body:
    """Tensors by name, as the Open Inference Protocol has them, as data of a model.

    Args:
        inputs: lists of plain values, one a column, or one array.
        served: the model.
    """
    arrays = [value for value in inputs.values() if isinstance(value, np.ndarray)]
    if arrays:
        if len(inputs) > 1:
            raise Refusal(422, "a tensor of several dimensions is the only input; there are others")
        return _fitting(Body(len(arrays[0]), arrays[0]), served)
    check_lengths(inputs)
    return _fitting(served.cells.body(tuple(inputs), list(zip(*inputs.values(), strict=True))), served)
