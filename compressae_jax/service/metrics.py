"""What a service counts, in the text form of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, process_collector

from compressae_jax.service.guard import App, Receive, Scope, Send

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
QUERIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OTHER = "other"  # a path that nobody serves


class Metrics:
    """The counters of one service; `rows` and `waiting` are asked for when somebody reads."""

    def __init__(self, rows: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        process_collector.ProcessCollector(registry=registry)  # memory, seconds of the processor, open files
        self.requests = Counter("compressae_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "compressae_request_seconds", "From a request to its answer.", ["path"], buckets=SECONDS, registry=registry
        )
        self.scan_seconds = Histogram("compressae_scan_seconds", "Of one batch.", buckets=SECONDS, registry=registry)
        self.scan_queries = Histogram(
            "compressae_scan_queries", "Queries of one batch.", buckets=QUERIES, registry=registry
        )
        self.reloads = Counter(
            "compressae_reloads", "Looks at a folder that others had changed.", ["outcome"], registry=registry
        )
        Gauge("compressae_rows", "Rows that are there.", registry=registry).set_function(rows)
        Gauge("compressae_queries_waiting", "Queries that no scan has taken yet.", registry=registry).set_function(
            waiting
        )

    def text(self) -> bytes:
        """All of them now."""
        return generate_latest(self._registry)


class Counted:
    """An ASGI application around another, which counts what that answers."""

    def __init__(self, app: App, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, status, start = scope["path"], 500, time.perf_counter()
        path = path if path in self._paths else OTHER  # else every stranger's guess would be a series

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
