"""What every request passes before it is looked at: whom it is for, a token, and how long its body may be."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/page.js", "/page.css")  # without a token: they tell nothing of the rows
LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


class Guard:
    """Refuses what has not the token, more than `body` bytes, or, on loopback without a token, another host's name.

    The last keeps pages of strangers, whose names a browser was led to take for this machine, from asking. A POST must
    be application/json, which no such page can send without being allowed to.
    """

    def __init__(self, app: App, body: int, token: str | None = None, loopback: bool = True) -> None:
        self._app, self._body, self._token, self._loopback = app, body, token, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers):
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body:
                raise HTTPException(413, self._too_long, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if self._token is not None:
            given = headers.get("authorization", "")
            if scope["path"] not in OPEN and not hmac.compare_digest(
                given.encode("latin-1"), f"Bearer {self._token}".encode()
            ):
                wanted = {"WWW-Authenticate": "Bearer"}
                return JSONResponse({"error": "the header Authorization: Bearer … lacks the token"}, 401, wanted)
        elif self._loopback and (name := _host(headers.get("host", ""))) not in LOOPBACK:
            return JSONResponse({"error": f"this service is not for the host {name!r}"}, 421)
        if scope["method"] == "POST" and headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return JSONResponse({"error": "the body must be application/json"}, 415)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._body:
            return JSONResponse({"error": self._too_long}, 413, {"Connection": "close"})
        return None

    @property
    def _too_long(self) -> str:
        return f"the body may have {self._body} bytes"


def _host(given: str) -> str:
    """Without the port."""
    name, colon, port = given.rpartition(":")
    return (name if colon and port.isdecimal() and (":" not in name or name.endswith("]")) else given).lower()
