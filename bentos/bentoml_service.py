"""The inside of BentoML that the services reach into: its application, and which services its supervisor starts.

Everything here is checked against one version of BentoML; tests/unit/test_adapters.py fails when that moves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import bentoml
from starlette.middleware.cors import CORSMiddleware

from bentos.connection import Connection
from bentos.door import App, Door

BENTOML = "1.4.39"


def behind(door: Door, *, without: Collection[str]) -> type[bentoml.Service[Any]]:
    """A class of services whose application has the door in front of all that BentoML puts around it.

    Parameters
    ----------
    door : Door
        Answers what it can, and passes the rest on.
    without : collection of str
        Services of the Bento that are not started. A dependency that was not started is an object in the gateway's
        own process.
    """

    class BehindTheDoor(bentoml.Service[Any]):  # type: ignore[misc]  # untyped where bentoml loads it lazily
        def all_services(self, exclude_urls: bool = False) -> dict[str, bentoml.Service[Any]]:
            """The services of the Bento; with `exclude_urls`, those that the supervisor starts."""
            services: dict[str, bentoml.Service[Any]] = super().all_services(exclude_urls)
            return {name: one for name, one in services.items() if not (exclude_urls and name in without)}

        def to_asgi(self, is_main: bool = True) -> App:
            Connection.use()
            Connection.gate = door
            application = super().to_asgi(is_main)
            outermost: App = door.before(application)
            # Where BentoML's configuration enables CORS, the middleware must also see what the door answers.
            for middleware in [one for one in application.user_middleware if one.cls is CORSMiddleware]:
                application.user_middleware.remove(middleware)
                # BentoML lets these be a string as well, but hands it on, and Starlette would take it for a list.
                options: dict[str, Any] = {
                    name: [value] if name in ("allow_methods", "expose_headers") and isinstance(value, str) else value
                    for name, value in middleware.kwargs.items()
                }
                outermost = CORSMiddleware(
                    outermost,  # type: ignore[arg-type]  # its `receive` is any awaitable, ours a coroutine
                    **options,
                )
            return outermost

    return BehindTheDoor
