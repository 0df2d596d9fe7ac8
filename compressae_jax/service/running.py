"""A service on a socket, until a signal ends it: what was asked before that is answered."""

from __future__ import annotations

import ipaddress
import socket

from compressae_jax.notation import InputError
from compressae_jax.service.app import Service

PATIENCE = 30  # seconds for what is under way when a signal comes
BACKLOG = 2048  # connections that wait to be accepted


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        InputError: an address that is not this machine's, or a port that somebody has.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {host}:{port}: {error}") from None
    listening.listen(BACKLOG)
    return listening


def run(service: Service, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM, which is raised again once all is answered."""
    import uvicorn

    config = uvicorn.Config(
        service.app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=PATIENCE
    )
    uvicorn.Server(config).run(sockets=[listening])
