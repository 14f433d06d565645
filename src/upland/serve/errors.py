"""Refusals: one JSON shape for every error, in the words of a client.

A message of upland names files, options and arguments for who runs it; a client has none of these. So a path
becomes `the body`, and advice that only who runs the server can follow is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from upland.io.advice import Advice, Argument, Estimator, Infinity, Wording, text_of
from upland.io.bounds import TooLarge

CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
    507: "insufficient_storage",
}

_PYTHON = (
    (
        re.compile(r"X has (\d+) features, but \w+ is expecting (\d+) features as input"),
        r"the data have \1 columns, and the model takes \2",
    ),
    (
        re.compile(r"Input X contains infinity or a value too large for dtype\('\w+'\)"),
        "the data hold infinity",
    ),
    (re.compile(r", as pandas\.\w+ or polars\.[\w.]+ does"), ""),
    (re.compile(r"\bX (has|holds|contains)\b"), r"the body \1"),
)
"""What scikit-learn's words for data are to a client."""


class Refusal(Exception):
    """A request that is not answered as it asks.

    Args:
        status: of HTTP.
        message: for the client.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = dict(headers or {})


def document(status: int, message: str, request_id: str) -> dict[str, Any]:
    """The body of an error: `error` is the text, as the Open Inference Protocol has it.

    Args:
        status: of HTTP.
        message: for the client.
        request_id: by which the log names the request.
    """
    return {"error": message, "code": CODES.get(status, "error"), "status": status, "request_id": request_id}


def refusal_of(error: BaseException, hidden: Mapping[str, str] | None = None) -> Refusal:
    """An error of upland about the data of a request, in the words of a client.

    Args:
        error: what a call raised.
        hidden: texts that are not for the client, such as paths, and what stands for them.
    """
    if isinstance(error, Refusal):
        return error
    message = text_of(error)
    text = message.shown(_shown) if isinstance(message, Advice) else message
    for found, instead in (hidden or {}).items():
        text = text.replace(found, instead)
    for pattern, words in _PYTHON:
        text = pattern.sub(words, text)
    if isinstance(error, TooLarge):
        return Refusal(413, text.partition(": if you trust it")[0])
    return Refusal(422, text)


def _shown(part: Argument | Estimator | Wording | Infinity) -> str:
    """An argument of the fit, which a client cannot give, by its name."""
    if isinstance(part, Argument):
        return f"the model's {part.name}" + ("" if part.value is None else f" {part.value!r}")
    if isinstance(part, Infinity):
        return f"column {part.column!r} holds infinity"
    return str(part)
