"""The BentoML internals that the services use: its application, and the services that its supervisor starts.

Everything here was checked against one version of BentoML; tests/unit/test_adapters.py fails when it changes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import bentoml
from starlette.middleware.cors import CORSMiddleware

from bentos.connection import Connection
from bentos.door import App, Door
from bentos.limits import ConnectionLimits, OpenConnections

BENTOML = "1.4.39"


def service_behind(door: Door, *, limits: ConnectionLimits, exclude: Collection[str]) -> type[bentoml.Service[Any]]:
    """A service class whose application has the door in front of everything that BentoML adds.

    Parameters
    ----------
    door : Door
        Answers the requests that it handles and passes the others on.
    limits : ConnectionLimits
        Limits of each process's connections.
    exclude : collection of str
        Services of the Bento that are not started. A dependency that is not started is an object in the gateway's own
        process.
    """

    class ServiceBehindDoor(bentoml.Service[Any]):  # type: ignore[misc]  # untyped where bentoml loads it lazily
        def all_services(self, exclude_urls: bool = False) -> dict[str, bentoml.Service[Any]]:
            """The services of the Bento; with `exclude_urls`, only those that the supervisor starts."""
            services: dict[str, bentoml.Service[Any]] = super().all_services(exclude_urls)
            return {name: one for name, one in services.items() if not (exclude_urls and name in exclude)}

        def to_asgi(self, is_main: bool = True) -> App:
            Connection.install()
            Connection.gate = door
            Connection.opened = OpenConnections(limits.within_descriptors())
            application = super().to_asgi(is_main)
            outermost: App = door.wrap(application)
            # If BentoML's configuration enables CORS, the middleware must also apply to the door's responses.
            for middleware in [one for one in application.user_middleware if one.cls is CORSMiddleware]:
                application.user_middleware.remove(middleware)
                # BentoML also accepts a string here but passes it on as it is, and Starlette would read it as a list.
                options: dict[str, Any] = {
                    name: [value] if name in ("allow_methods", "expose_headers") and isinstance(value, str) else value
                    for name, value in middleware.kwargs.items()
                }
                outermost = CORSMiddleware(
                    outermost,  # type: ignore[arg-type]  # its `receive` is any awaitable, ours a coroutine
                    **options,
                )
            return outermost

    return ServiceBehindDoor
