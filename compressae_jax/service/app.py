"""The service as an ASGI application: what is asked by which path, and how it is answered. docs/SERVICE.md tells users.

Bodies and answers are JSON; an answer that is none has `error`, a sentence: 400 what is asked is wrong, 401 no token,
409 another process writes the folder, 413 and 415 the body, 421 another host's name, 503 too much waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from compressae_jax.notation import BusyError, FolderError, InputError, check_range
from compressae_jax.service import asked as of_client
from compressae_jax.service.asked import Limits, Search
from compressae_jax.service.batching import Batcher, Overloaded
from compressae_jax.service.catalogue import Answer, Catalogue
from compressae_jax.service.guard import App, Guard
from compressae_jax.service.metrics import Counted, Metrics

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
POLICY = "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
EXAMPLES = 5  # items that tell what a latent stands for
NAMES = 20  # that a part of a name brings at most

Handler = Callable[[Request], Awaitable[Any]]


class Service:
    """A catalogue behind paths; `app` is what a server runs.

    `limits` of a request; `wait`, seconds that a request waits for others when nothing is under way; `poll`, seconds
    between looks at the folder; `token`, without which nothing but the page and /health answers; `loopback`, whether
    only this machine can ask.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        limits: Limits | None = None,
        wait: float = 0.0,
        poll: float = 1.0,
        token: str | None = None,
        loopback: bool = True,
    ) -> None:
        self._catalogue, self._limits, self._poll = catalogue, limits or Limits(), poll
        self._batcher: Batcher[Search, Answer] = Batcher(self._scanned, wait=wait)
        self._others = ThreadPoolExecutor(2, "others")  # what is asked seldom
        self._changes = ThreadPoolExecutor(1, "changes")
        self._fault: str | None = None
        self._metrics = Metrics(lambda: len(catalogue.index), lambda: self._batcher.waiting)
        routes = [Route(path, functools.partial(self._page, name)) for path, name in FILES.items()]
        routes += [
            Route(path, functools.partial(self._answered, handler), methods=[method])
            for path, method, handler in (
                ("/search", "POST", self._search),
                ("/add", "POST", self._add),
                ("/remove", "POST", self._remove),
                ("/about", "GET", self._about),
                ("/names", "GET", self._names),
                ("/neighbours", "GET", self._neighbours),
                ("/latents", "GET", self._latents),
                ("/health", "GET", self._health),
            )
        ]
        routes.append(Route("/metrics", self._read_metrics))
        inner = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _refused},
        )
        paths = frozenset(route.path for route in routes)
        self.app: App = Counted(Guard(inner, self._limits.body, token, loopback), self._metrics, paths)

    def _scanned(self, asked: Sequence[Search]) -> list[Answer | Exception]:
        start = time.perf_counter()
        answers = self._catalogue.search(asked)
        self._metrics.scan_seconds.observe(time.perf_counter() - start)
        self._metrics.scan_queries.observe(sum(map(len, asked)))
        return answers

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        del app
        watching = asyncio.create_task(self._watched())
        try:
            yield
        finally:
            watching.cancel()
            await self._batcher.close()
            for pool in (self._changes, self._others):
                pool.shutdown()

    async def _watched(self) -> None:
        """Open the folder again whenever others have changed it."""
        while True:
            await asyncio.sleep(self._poll)
            try:
                changed = await self._in(self._changes, self._catalogue.reload)
            except (InputError, OSError) as error:
                if self._fault != str(error):
                    self._fault = str(error)
                    self._metrics.reloads.labels("failed").inc()
                    print(f"what was served before still is: {error}", file=sys.stderr, flush=True)
                continue
            self._fault = None
            if changed:
                self._metrics.reloads.labels("done").inc()

    async def _answered(self, handler: Handler, request: Request) -> Response:
        """An answer of JSON, whatever happens."""
        try:
            return _json(await handler(request))
        except BusyError as error:
            return _json({"error": str(error)}, 409)
        except FolderError as error:
            return _json({"error": str(error)}, 500)
        except InputError as error:
            return _json({"error": str(error)}, 400)
        except Overloaded as error:
            return _json({"error": str(error)}, 503, {"Retry-After": "1"})
        except OSError as error:
            return _json({"error": f"{error.strerror or error}; nothing was changed"}, 507)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    async def _search(self, request: Request) -> dict[str, Any]:
        asked = of_client.search(await _body(request), self._limits)
        start = time.perf_counter()
        answer = await self._batcher.ask(asked, len(asked)) if len(asked) else Answer([], [])
        told: dict[str, Any] = {"ids": answer.ids, "scores": answer.scores}
        if asked.fields:
            told["fields"] = await self._in(self._others, self._catalogue.fields, answer, asked.fields)
        return told | {"ms": _ms(time.perf_counter() - start)}

    async def _add(self, request: Request) -> dict[str, Any]:
        change = of_client.addition(await _body(request))
        rows = await self._in(self._changes, self._catalogue.add, change.vectors, change.ids)
        return {"added": len(change.vectors), "rows": rows}  # type: ignore[arg-type]

    async def _remove(self, request: Request) -> dict[str, Any]:
        change = of_client.removal(await _body(request))
        return {"rows": await self._in(self._changes, self._catalogue.remove, change.ids)}

    async def _about(self, request: Request) -> dict[str, Any]:
        del request
        index, payload = self._catalogue.index, self._catalogue.payload
        return {
            "rows": len(index),
            "d": index.weights.d,
            "h": index.weights.h,
            "k": index.codes.k,
            "space": index.space,
            "similarity": index.similarity,
            "encoder": index.encoder,
            "storage": index.codes.storage,
            "model": index.weights.fingerprint,
            "bytes": index.bytes_per_vector,
            "cells": index.cells,
            "dense_bytes": 4 * index.weights.d,
            "dense": self._catalogue.dense_bytes is not None,
            "fields": payload.columns if payload else [],
            "changeable": self._catalogue.changeable,
            "limits": self._limits._asdict(),
        }

    async def _names(self, request: Request) -> dict[str, Any]:
        part = request.query_params.get("contains", "")
        pairs = await self._in(self._others, self._catalogue.names, part, NAMES)
        return {"ids": [one for one, _ in pairs], "texts": [text for _, text in pairs]}

    async def _neighbours(self, request: Request) -> dict[str, Any]:
        one, top = self._item(request), self._top(request)
        asked = of_client.search({"ids": [one], "top": top}, self._limits)
        by_codes, seconds = await self._in(self._others, self._timed, asked)
        sides = {"codes": (by_codes, seconds)}
        if self._catalogue.dense_bytes is not None:
            sides["dense"] = await self._in(self._others, self._catalogue.dense, [one], top)
        told: dict[str, Any] = {"text": self._catalogue.texts([one])[0]}
        return told | {
            name: {
                "ids": answer.ids[0],
                "scores": answer.scores[0],
                "texts": self._catalogue.texts(answer.ids[0]),
                "ms": _ms(took),
            }
            for name, (answer, took) in sides.items()
        }

    def _timed(self, asked: Search) -> tuple[Answer, float]:
        start = time.perf_counter()
        (answer,) = self._catalogue.search([asked])
        if isinstance(answer, Exception):
            raise answer
        return answer, time.perf_counter() - start

    async def _latents(self, request: Request) -> dict[str, Any]:
        one = self._item(request)
        found = await self._in(self._others, self._catalogue.latents, one, EXAMPLES)
        return {
            "columns": [latent.column for latent in found],
            "weights": [latent.weight for latent in found],
            "ids": [latent.items for latent in found],
            "texts": [self._catalogue.texts(latent.items) for latent in found],
        }

    async def _health(self, request: Request) -> dict[str, Any]:
        del request
        return {"status": "ok" if self._fault is None else "the folder cannot be read again", "fault": self._fault}

    async def _read_metrics(self, request: Request) -> Response:
        del request
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _page(self, name: str, request: Request) -> Response:
        del request
        return FileResponse(PAGE / name, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    def _item(self, request: Request) -> of_client.Id:
        given = request.query_params.get("id")
        if given is None:
            raise InputError("give id, of the item")
        return self._catalogue.as_id(given)

    def _top(self, request: Request) -> int:
        given = request.query_params.get("top", "10")
        top = int(given) if given.isdecimal() and len(given) < 10 else given
        check_range("top", top, 1, self._limits.top)
        return int(top)

    @staticmethod
    async def _in(pool: ThreadPoolExecutor, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


async def _body(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is no JSON: {error}") from None


def _json(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(told), status, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette, or the guard, says of a path, a method, a body."""
    del request
    assert isinstance(error, HTTPException)
    headers = None if error.headers is None else dict(error.headers)
    return _json({"error": error.detail}, error.status_code, headers)


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)
