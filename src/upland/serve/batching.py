"""Requests that come at the same time are scored in one call, and the results are split again.

One call for sixteen rows costs about as much as one call for one. While a worker thread scores, requests
wait in a bounded queue; what has gathered there goes into the next call. A score depends on its row alone,
so that it does not matter what it is scored with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upland.serve.bodies import Body, joined
from upland.serve.errors import Refusal, refusal_of
from upland.serve.models import Served

Floats = NDArray[np.float64]
Scored = tuple[Floats, Floats]
"""Anomaly scores and p-values."""

BAD_DATA = (ValueError, TypeError, ArithmeticError)
"""What data raise that cannot be scored."""


@dataclass
class Waiting:
    """A request that waits for its scores.

    Args:
        served: the model, as it was when the request came.
        body: its data.
        answer: gets the scores.
    """

    served: Served
    body: Body
    answer: asyncio.Future[Scored]


class Batcher:
    """Scores requests together, in a worker thread.

    Args:
        executor: with one thread.
        rows: that are scored together at most.
        seconds: how long to wait for more, once several have come together.
        observe: called with the model, the number of requests and the scores of each call, for the metrics.
    """

    def __init__(
        self, executor: Executor, rows: int, seconds: float, observe: Callable[[Served, int, Scored], None]
    ) -> None:
        self._executor, self._rows, self._seconds, self._observe = executor, rows, seconds, observe
        self._waiting: deque[Waiting] = deque()
        self._running: asyncio.Task[None] | None = None
        self._together = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def score(self, served: Served, body: Body) -> asyncio.Future[Scored]:
        """The scores of a request, later.

        Args:
            served: the model.
            body: data of a few rows.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Scored] = loop.create_future()
        self._waiting.append(Waiting(served, body, answer))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        """Score until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._together > 1 and self._seconds:
                    await asyncio.sleep(self._seconds)
                groups = _alike(self._next())
                self._together = sum(map(len, groups))
                calls = [loop.run_in_executor(self._executor, _scored, group) for group in groups]
                for group, found in zip(
                    groups, await asyncio.gather(*calls, return_exceptions=True), strict=True
                ):
                    results = [found] * len(group) if isinstance(found, BaseException) else found
                    _answer(group, results)
                    if done := [result for result in results if isinstance(result, tuple)]:
                        scores, p_values = (np.concatenate(part) for part in zip(*done, strict=True))
                        self._observe(group[0].served, len(group), (scores, p_values))
        finally:
            self._running = None

    def _next(self) -> list[Waiting]:
        """Requests in the order in which they came, each still wanted, of so many rows at most."""
        batch: list[Waiting] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].body.size <= self._rows):
            one = self._waiting.popleft()
            if not one.answer.done():
                batch.append(one)
                rows += one.body.size
        return batch


def _alike(batch: Sequence[Waiting]) -> list[list[Waiting]]:
    """Requests that may be scored together, each in a list of its own where it may not."""
    groups: dict[Hashable, list[Waiting]] = {}
    for waiting in batch:
        key = id(waiting) if waiting.body.key is None else (id(waiting.served), waiting.body.key)
        groups.setdefault(key, []).append(waiting)
    return list(groups.values())


def _answer(group: Sequence[Waiting], found: Sequence[Scored | BaseException]) -> None:
    """Give each request what was found; the time of some may be over."""
    for waiting, result in zip(group, found, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(result, BaseException):
            waiting.answer.set_exception(result)
        else:
            waiting.answer.set_result(result)


def _scored(group: Sequence[Waiting]) -> list[Scored | BaseException]:
    """The scores of requests with one key; where one of them cannot be scored, it alone is refused."""
    bodies = [waiting.body for waiting in group]
    try:
        scores, p_values = group[0].served.detector.assess(joined(bodies))
    except (Refusal, *BAD_DATA) as error:
        if len(group) == 1:
            return [refusal_of(error)]
        half = len(group) // 2
        return [*_scored(group[:half]), *_scored(group[half:])]
    ends = np.cumsum([body.size for body in bodies]).tolist()
    if len(scores) != ends[-1]:
        raise RuntimeError(f"{len(scores)} scores of {ends[-1]} rows")
    parts = [slice(end - body.size, end) for body, end in zip(bodies, ends, strict=True)]
    return [(scores[part], p_values[part]) for part in parts]
