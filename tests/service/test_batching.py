"""Requests that wait together share one call, and one that fails does not fail the others."""

import asyncio
import threading

import pytest

from compressae_jax.service.batching import Batcher, Overloaded


class Work:
    """Doubles numbers; each call waits for `gate`."""

    def __init__(self):
        self.calls, self.gate = [], threading.Event()

    def __call__(self, asked):
        self.gate.wait(10)
        self.calls.append(list(asked))
        return [ValueError(one) if one < 0 else 2 * one for one in asked]


def test_what_arrives_meanwhile_shares_the_next_call():
    work = Work()

    async def main():
        batcher = Batcher(work, most=4)
        first = asyncio.create_task(batcher.ask(1))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batcher.ask(i)) for i in (2, -3, 4, 5, 6)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 5
        work.gate.set()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        await batcher.close()
        return answers

    answers = asyncio.run(main())
    assert work.calls == [[1], [2, -3, 4, 5], [6]]
    assert [*answers[:2], *answers[3:]] == [2, 4, 8, 10, 12] and isinstance(answers[2], ValueError)


def test_a_request_waits_for_others():
    work = Work()
    work.gate.set()

    async def main():
        batcher = Batcher(work, wait=0.1)
        some = [asyncio.create_task(batcher.ask(1))]
        await asyncio.sleep(0.02)
        some.append(asyncio.create_task(batcher.ask(2)))
        await asyncio.gather(*some)
        await batcher.close()

    asyncio.run(main())
    assert work.calls == [[1, 2]]


def test_large_requests_go_alone_and_too_many_are_refused():
    work = Work()

    async def main():
        batcher = Batcher(work, most=4, waiting=12)
        tasks = [asyncio.create_task(batcher.ask(1, 9))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(batcher.ask(i, queries)) for i, queries in ((2, 3), (3, 9))]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="12 queries wait"):
            await batcher.ask(4, 1)
        work.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    asyncio.run(main())
    assert work.calls == [[1], [2], [3]]


def test_who_goes_away_is_not_worked_for():
    work = Work()

    async def main():
        batcher = Batcher(work)
        kept, gone = asyncio.create_task(batcher.ask(1)), None
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(batcher.ask(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        await kept
        await batcher.close()

    asyncio.run(main())
    assert work.calls == [[1]]


def test_an_error_of_a_whole_call_reaches_all():
    def work(asked):
        raise OSError("gone")

    async def main():
        batcher = Batcher(work)
        answers = await asyncio.gather(batcher.ask(1), batcher.ask(2), return_exceptions=True)
        await batcher.close()
        return answers

    assert [str(one) for one in asyncio.run(main())] == ["gone", "gone"]
