"""The BentoML internals that the services use: its application, and the services that its supervisor starts.

Everything here was checked against one version of BentoML; tests/unit/test_adapters.py fails when it changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.middleware.cors import CORSMiddleware

from bentos.asgi import App
from bentos.connection import Connection
from bentos.deadline import Deadline
from bentos.door import Door
from bentos.limits import ConnectionLimits, OpenConnections

BENTOML = "1.4.39"
_CORS: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST"),
    "allow_headers": (
        "Authorization", "X-API-Key", "Content-Type", "Content-Encoding", "Accept-Language",
        "X-Source", "X-Request-ID", "traceparent", "tracestate",
    ),
    "expose_headers": ("Retry-After", "X-Request-ID"),
    "max_age": 86_400,
}  # fmt: skip
"""What a page of an allowed origin may send and read; a day is the longest that browsers remember it."""


class ServiceWithDeadline(bentoml.Service[Any]):  # type: ignore[misc]  # untyped where bentoml loads it lazily
    """A service whose application limits a request's time by `Deadline`, in place of BentoML's own limit."""

    def to_asgi(self, is_main: bool = True) -> Any:
        application = super().to_asgi(is_main)
        for middleware in application.user_middleware:
            if middleware.cls is TimeoutMiddleware:
                middleware.cls = Deadline
        return application


def service_behind(
    door: Door,
    *,
    limits: ConnectionLimits,
    proxies: str,
    exclude: Collection[str],
    routes: Callable[[], list[dict[str, Any]]],
    origins: Sequence[str],
) -> type[bentoml.Service[Any]]:
    """A service class whose application has the door in front of everything that BentoML adds.

    Parameters
    ----------
    door : Door
        Answers the requests that it handles and passes the others on.
    limits : ConnectionLimits
        Limits of each process's connections.
    proxies : str
        Addresses and networks of the proxies whose `X-Forwarded-*` headers are believed, separated by commas.
    exclude : collection of str
        Services of the Bento that are not started. A dependency that is not started is an object in the gateway's own
        process.
    routes : callable
        Returns what `/schema.json` says of the door's routes: BentoML only knows of methods that it wraps itself.
    origins : sequence of str
        Origins whose pages may call the server; if there are any, BentoML's own configuration of CORS is not used.
    """

    class ServiceBehindDoor(ServiceWithDeadline):
        def all_services(self, exclude_urls: bool = False) -> dict[str, bentoml.Service[Any]]:
            """The services of the Bento; with `exclude_urls`, only those that the supervisor starts."""
            services: dict[str, bentoml.Service[Any]] = super().all_services(exclude_urls)
            return {name: one for name, one in services.items() if not (exclude_urls and name in exclude)}

        def schema(self) -> dict[str, Any]:
            """What BentoML's clients ask for first, and make their methods of."""
            return {**super().schema(), "routes": routes()}

        def to_asgi(self, is_main: bool = True) -> App:
            Connection.install()
            Connection.gate = door
            Connection.opened = OpenConnections(limits.within_descriptors())
            Connection.trust(proxies)
            application = super().to_asgi(is_main)
            outermost: App = door.wrap(application)
            # CORS must also apply to the door's responses, whether our setting or BentoML's configuration enables it.
            for middleware in [one for one in application.user_middleware if one.cls is CORSMiddleware]:
                application.user_middleware.remove(middleware)
                # BentoML also accepts a string here but passes it on as it is, and Starlette would read it as a list.
                options: dict[str, Any] = {
                    name: [value] if name in ("allow_methods", "expose_headers") and isinstance(value, str) else value
                    for name, value in middleware.kwargs.items()
                }
                if not origins:
                    outermost = _with_cors(outermost, **options)
            return _with_cors(outermost, allow_origins=origins, **_CORS) if origins else outermost

    return ServiceBehindDoor


def _with_cors(application: App, **options: Any) -> App:
    return CORSMiddleware(application, **options)  # type: ignore[arg-type]  # its types are wider


def followed_pointer(service: bentoml.Service[Any]) -> Path | None:
    """The store's pointer to the latest Bento, if this worker was started as `NAME:latest` or `NAME`.

    The supervisor gives every worker what it was given itself, also when it starts one again.
    """
    bento = service.bento
    if bento is None or sys.argv[1:2] not in ([bento.tag.name], [f"{bento.tag.name}:latest"]):
        return None
    versions = Path(bento.path).parent
    return versions / "latest" if versions.name == bento.tag.name else None
