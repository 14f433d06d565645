"""What a server does with a request, whatever its route: body, limits, scores, answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from upland.calibration.false_discovery import check_rate
from upland.scoring.columns import ADDED, texts
from upland.serve.answers import ARROW, JSON, arrow_bytes, json_bytes, records
from upland.serve.batching import BAD_DATA, Batcher
from upland.serve.bodies import Body, joined
from upland.serve.errors import Refusal, refusal_of
from upland.serve.metrics import Metrics
from upland.serve.models import Models, Served
from upland.serve.more import reasons
from upland.serve.numbers import real, whole
from upland.serve.reading import FORM, body_of, form_body
from upland.serve.series import InFile, InMemory, States
from upland.serve.settings import Settings

BUFFERED = 16
"""Bodies of the largest size that may be in memory at a time."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Asked:
    """What a request says beside its data.

    Args:
        alpha: the false-alarm rate of its flags.
        explain: how many reasons it wants.
    """

    alpha: float
    explain: int = 0


class Service:
    """Models, limits, threads and metrics of one server process.

    Args:
        models: by name.
        settings: of the server.
    """

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models, self.settings = models, settings
        self.draining = False
        self.states: States = (
            InMemory(settings.series) if settings.state is None else InFile(settings.state, settings.series)
        )
        self._bulk = ThreadPoolExecutor(1, "upland-bulk")
        self._quick = ThreadPoolExecutor(1, "upland-batch")
        self._jobs = self._buffered = 0
        self.metrics = Metrics(lambda: self.waiting, lambda: len(self.states))
        self.batcher = Batcher(
            self._quick,
            settings.batch_rows,
            settings.batch_seconds,
            self.metrics.batch,
        )

    @property
    def waiting(self) -> int:
        """Requests that wait for their scores."""
        return len(self.batcher) + self._jobs

    def close(self) -> None:
        """End the threads, once nothing waits."""
        self._quick.shutdown()
        self._bulk.shutdown()
        self.states.close()

    # -- what comes ----------------------------------------------------------------------------------------

    def asked(self, given: Mapping[str, Any], usual: float) -> Asked:
        """Alpha and explain, from a query or from parameters.

        Args:
            given: by name.
            usual: the alpha of a request that says none.

        Raises:
            Refusal: they are none.
        """
        alpha, explain = given.get("alpha"), given.get("explain")
        if alpha is None and explain is None:
            return Asked(usual)
        rate = usual if alpha is None else real(alpha)
        try:
            check_rate(math.nan if rate is None else rate, "false_alarm")
            assert rate is not None
        except ValueError:
            raise Refusal(422, f"alpha is a rate between 0 and 1, not {str(alpha)[:40]!r}") from None
        if explain is None:
            return Asked(rate)
        count = whole(explain)
        if count is None:
            raise Refusal(422, f"explain is how many reasons are given, 0 or more, not {str(explain)[:40]!r}")
        return Asked(rate, count)

    async def bytes_of(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            Refusal: 413 if it is too large, 408 if it is late, 415 if it is compressed, 429 if too many
                requests wait.
        """
        self.check_queue()
        most = self.settings.body_bytes
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "a compressed body is not read: send it without Content-Encoding")
        if (whole(request.headers.get("content-length")) or 0) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(self.settings.seconds):
                async for part in request.stream():
                    held += len(part)
                    self._buffered += len(part)
                    parts.append(part)
                    if held > most:
                        raise _too_large(most)
                    if self._buffered > BUFFERED * most:
                        raise self._busy("bodies of other requests fill the memory that is set aside")
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {self.settings.seconds:g} s", _CLOSE) from None
        finally:
            self._buffered -= held
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def body(self, request: Request, served: Served) -> Body:
        """The data of a request, for a model; raises as `bytes_of`, and Refusal for what is no data of it."""
        data = await self.bytes_of(request)
        content_type = request.headers.get("content-type", JSON)
        if content_type == JSON and len(data) < SMALL:
            return body_of(data, content_type, served, self.settings)
        if content_type.startswith(FORM):
            return await form_body(data, content_type, served, self.settings.rows)
        return await self.in_thread(lambda: body_of(data, content_type, served, self.settings))

    def check_queue(self) -> None:
        """Refuse a request where too many wait; raises Refusal, 429."""
        if self.waiting >= self.settings.queue:
            raise self._busy(f"{self.settings.queue} requests wait")

    def _busy(self, why: str) -> Refusal:
        return Refusal(429, f"too many requests: {why}; try again later", {"retry-after": "1"})

    # -- what is done --------------------------------------------------------------------------------------

    async def in_thread(self, call: Callable[[], Made]) -> Made:
        """What a call returns that takes a while; such calls run one after the other.

        Raises:
            Refusal: 429 where too many wait, 504 where it takes too long, 422 where the data are at fault.
        """
        self.check_queue()
        self._jobs += 1
        try:
            async with asyncio.timeout(self.settings.seconds):
                return await asyncio.get_running_loop().run_in_executor(self._bulk, call)
        except TimeoutError:
            raise self._late() from None
        except BAD_DATA as error:
            raise refusal_of(error) from error
        finally:
            self._jobs -= 1

    def _late(self) -> Refusal:
        return Refusal(504, f"there was no result within {self.settings.seconds:g} s")

    async def score(self, served: Served, body: Body, asked: Asked) -> dict[str, Any]:
        """The columns of scores of a request's data: each an array, by name.

        Raises:
            Refusal: as `in_thread`.
        """
        if asked.explain or served.detector.modality == "sequence":
            return await self.in_thread(lambda: self._in_full(served, body, asked))
        if body.size > self.settings.batch_rows:
            scores, p_values = await self.in_thread(lambda: served.detector.assess(joined([body])))
            self.metrics.scored(served, scores, p_values)
        else:
            self.check_queue()
            try:
                async with asyncio.timeout(self.settings.seconds):
                    scores, p_values = await self.batcher.score(served, body)
            except TimeoutError:
                raise self._late() from None
        return {ADDED[0]: scores, ADDED[1]: p_values, ADDED[2]: p_values <= asked.alpha}

    def _in_full(self, served: Served, body: Body, asked: Asked) -> dict[str, Any]:
        """The same of sequences, and with reasons."""
        data = joined([body])
        if served.detector.modality == "sequence" and isinstance(data, pa.Table):
            return self._of_frame(served, data, asked)
        scores, p_values = served.detector.assess(data)
        columns: dict[str, Any] = {ADDED[0]: scores, ADDED[1]: p_values, ADDED[2]: p_values <= asked.alpha}
        if asked.explain:
            columns[ADDED[3]] = pa.array(texts(reasons(served, data, asked.explain)), pa.string())
        self.metrics.scored(served, scores, p_values)
        return columns

    def _of_frame(self, served: Served, data: pa.Table, asked: Asked) -> dict[str, Any]:
        """The same of a long frame of sequences, by `upland.Scorer`."""
        scorer = served.scorer.asked(asked.alpha, asked.explain)
        made = scorer(data)
        whole = made.num_rows != data.num_rows  # a row for each sequence
        columns = {name: made.column(name) for name in made.column_names if whole or name in scorer.added}
        self.metrics.scored(served, columns[ADDED[0]].to_numpy(), columns[ADDED[1]].to_numpy())
        return columns

    # -- what goes -----------------------------------------------------------------------------------------

    def answer(
        self, kind: str, served: Served, columns: Mapping[str, Any], details: Mapping[str, Any]
    ) -> Response:
        """Columns as JSON records or as an Arrow stream.

        Args:
            kind: content type of the answer.
            served: the model.
            columns: by name.
            details: what is said of all rows together.
        """
        named = {"model": served.name, "version": served.version, **details}
        if kind == ARROW:
            return Response(arrow_bytes(columns, named), media_type=ARROW)
        return Response(json_bytes({**named, "results": records(columns)}), media_type=JSON)


SMALL = 1 << 16
"""Bytes of a JSON body that are read at once, without a thread."""

_CLOSE = {"connection": "close"}


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most:,} bytes", _CLOSE)
