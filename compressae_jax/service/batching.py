"""Requests that arrive while others are answered wait together, so that all of them share one scan of the rows."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Overloaded(Exception):  # noqa: N818, the service is well
    """More queries wait than are to wait."""


class _Waiting(NamedTuple):
    asked: Any
    queries: int
    answer: asyncio.Future


class Batcher(Generic[Asked, Answer]):
    """Calls `work` with what is asked, many at a time, in a thread of its own, one call after the other.

    A request that finds nobody at work waits `wait` seconds for others; while `work` runs, requests gather anyway.
    `most`: queries of one call; `waiting`: queries that may wait.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        most: int = 256,
        wait: float = 0.0,
        waiting: int = 4096,
    ) -> None:
        self._work, self._most, self._wait, self._limit = work, most, wait, waiting
        self._pool = ThreadPoolExecutor(1, "search")
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._queries = 0
        self._running: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Queries that wait."""
        return self._queries

    async def ask(self, asked: Asked, queries: int = 1) -> Answer:
        """The answer to a request of so many queries; raises what `work` gave in its place.

        Raises:
            Overloaded: too many wait.
        """
        if self._queries and self._queries + queries > self._limit:
            raise Overloaded(f"{self._queries} queries wait; ask again later")
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(asked, queries, answer))
        self._queries += queries
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        while self._running is not None:
            await self._running
        self._pool.shutdown()

    async def _run(self) -> None:
        try:
            if self._wait:
                await asyncio.sleep(self._wait)
            while self._queue:
                some = self._some()
                if some:
                    await self._answered(some)
        finally:
            self._running = None

    def _some(self) -> list[_Waiting]:
        """What one call takes; whoever has gone away meanwhile is left out."""
        some: list[_Waiting] = []
        queries = 0
        while self._queue and (not some or queries + self._queue[0].queries <= self._most):
            one = self._queue.popleft()
            self._queries -= one.queries
            if not one.answer.done():
                some.append(one)
                queries += one.queries
        return some

    async def _answered(self, some: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._pool, self._work, [one.asked for one in some])
        except Exception as error:  # of the work as a whole
            answers = [error] * len(some)
        for one, answer in zip(some, answers, strict=True):
            if one.answer.done():
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)
