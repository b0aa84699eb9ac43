"""From the body of a request to its scores. Rows that arrive together are scored together."""

import asyncio
from typing import Any

import numpy as np
from msgspec import Struct
from starlette.concurrency import run_in_threadpool

from ..artifact import Engine, Model
from ..encode import Matrix, Vector
from ..errors import UsageError
from .explain import contributions
from .fast import Cells
from .payload import Invalid, Reader, Rows

LARGE = 65_536  # bytes from which a request is answered in a thread
Unseen = dict[str, int]


class Scored(Struct):
    """Rows and their scores; how many values were of no known category, by column; and what each feature added."""

    rows: Rows
    scores: Vector
    unseen: Unseen
    why: dict[str, Any] | None = None


class Scorer:
    """Scores the rows of requests with one model."""

    def __init__(self, model: Model, engine: Engine, max_rows: int) -> None:
        """Prepare; a request may hold `max_rows` rows."""
        self._model = model
        self.reader = Reader(model, max_rows)
        # What takes milliseconds goes to a thread, so that the service goes on answering others.
        self._quick = engine == "onnx" and self.reader.quick
        self._waiting: list[tuple[Cells, asyncio.Future[tuple[Vector, Unseen]]]] = []

    async def score(self, body: bytes, explain: bool) -> Scored:
        """Score a request.

        Raises:
            Invalid: it is refused.
            ValueError: the model gives no number.
        """
        if len(body) >= LARGE or explain or not self._quick:
            return await run_in_threadpool(self._slowly, body, explain)
        rows = self.reader.read(body)
        scores, unseen = await self._together(rows.cells[0]) if len(rows.cells) == 1 else self._scores(rows.cells)
        return Scored(rows, scores, unseen)

    def _slowly(self, body: bytes, explain: bool) -> Scored:
        rows = self.reader.read(body)
        scored = Scored(rows, *self._scores(rows.cells))
        if explain:
            try:
                scored.why = contributions(self._model, self.reader.encode(rows.cells)[0])
            except UsageError as error:
                raise Invalid(422, "type", str(error)) from None
        return scored

    def _together(self, cells: Cells) -> asyncio.Future[tuple[Vector, Unseen]]:
        """Score a row with all others that are here by then; the model takes hardly longer for them than for one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Vector, Unseen]] = loop.create_future()
        self._waiting.append((cells, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._score_waiting)
        return future

    def _score_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        x = self.reader.quickly([cells for cells, _ in waiting])
        try:
            scores = None if x is None else self._finite(x)
        except Exception:  # below, each learns whether it was its row
            scores = None
        for n, (cells, future) in enumerate(waiting):
            if future.done():  # its caller has gone
                continue
            try:
                future.set_result(self._scores([cells]) if scores is None else (scores[n : n + 1], {}))
            except Exception as error:
                future.set_exception(error)

    def _scores(self, cells: list[Cells]) -> tuple[Vector, Unseen]:
        x, unseen = self.reader.encode(cells)
        return self._finite(x), unseen

    def _finite(self, x: Matrix) -> Vector:
        scores: Vector = self._model.scores_of(x)
        if not np.isfinite(scores).all():
            raise ValueError("a score is not finite")
        return scores
