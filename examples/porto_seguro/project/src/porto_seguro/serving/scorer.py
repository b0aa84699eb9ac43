"""From the body of a request to its scores. Rows that arrive together are scored together."""

import asyncio
from typing import Any

import numpy as np
from msgspec import Struct
from starlette.concurrency import run_in_threadpool

from ..artifact import Model
from ..encode import Matrix, Vector
from ..errors import UsageError
from ..explain import contributions
from .fast import Cells
from .payload import Invalid, Reader, Rows

LARGE = 65_536  # bytes from which a request is answered in a thread
Unseen = dict[str, int]
Found = tuple[Vector, Unseen]


class Scored(Struct):
    """Rows and their scores; how many values were of no known category, by column; and what each feature added."""

    rows: Rows
    scores: Vector
    unseen: Unseen
    why: dict[str, Any] | None = None


def _settle(waiting: list[tuple[Cells, asyncio.Future[Found]]], results: list[Found | Exception]) -> None:
    for (_, future), found in zip(waiting, results, strict=True):
        if future.done():  # its caller has gone
            continue
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)


class Scorer:
    """Scores the rows of requests with one model."""

    def __init__(self, model: Model, max_rows: int) -> None:
        """Prepare; a request may hold `max_rows` rows."""
        self._model = model
        self.reader = Reader(model, max_rows)
        # What takes milliseconds goes to a thread, so that the service goes on answering others.
        self._quick = model.engine == "onnx" and self.reader.quick
        self._waiting: list[tuple[Cells, asyncio.Future[Found]]] = []
        self._turns: asyncio.Task[None] | None = None

    async def score(self, body: bytes, explain: bool) -> Scored:
        """Score a request.

        Raises:
            Invalid: it is refused.
            ValueError: the model gives no number.
        """
        if len(body) < LARGE and not explain:
            rows = self.reader.read(body)
            if len(rows.cells) == 1:
                return Scored(rows, *await self._together(rows.cells[0]))
            if self._quick:
                return Scored(rows, *self._scores(rows.cells))
        return await run_in_threadpool(self._slowly, body, explain)

    def _slowly(self, body: bytes, explain: bool) -> Scored:
        rows = self.reader.read(body)
        scored = Scored(rows, *self._scores(rows.cells))
        if explain:
            try:
                scored.why = contributions(self._model, self.reader.encode(rows.cells)[0])
            except UsageError as error:
                raise Invalid(422, "type", str(error)) from None
        return scored

    def _together(self, cells: Cells) -> asyncio.Future[Found]:
        """Score a row with all others that are here by then; the model takes hardly longer for them than for one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        self._waiting.append((cells, future))
        if not self._quick and self._turns is None:
            self._turns = loop.create_task(self._in_turns())
        elif self._quick and len(self._waiting) == 1:
            loop.call_soon(self._at_once)
        return future

    def _at_once(self) -> None:
        waiting, self._waiting = self._waiting, []
        _settle(waiting, self._each([cells for cells, _ in waiting]))

    async def _in_turns(self) -> None:
        """While a thread scores some rows, the next ones gather."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            _settle(waiting, await run_in_threadpool(self._each, [cells for cells, _ in waiting]))
        self._turns = None

    def _each(self, cells: list[Cells]) -> list[Found | Exception]:
        """What each row gets; where one spoils it for all, every row alone."""
        try:
            scores, unseen = self._scores(cells)
        except Exception as error:
            return [error] if len(cells) == 1 else [self._each([row])[0] for row in cells]
        return [(scores[n : n + 1], {} if n else unseen) for n in range(len(cells))]

    def _scores(self, cells: list[Cells]) -> Found:
        x, unseen = self.reader.encode(cells)
        return self._finite(x), unseen

    def _finite(self, x: Matrix) -> Vector:
        scores: Vector = self._model.scores_of(x)
        if not np.isfinite(scores).all():
            raise ValueError("a score is not finite")
        return scores
