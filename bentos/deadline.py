"""A deadline for the routes that BentoML's application answers."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse

from bentos.asgi import App, Message, Receive, Scope, Send


class Deadline:
    """BentoML's limit of the time until a response begins, without what it leaves behind.

    BentoML's own never cancels its timer. For a minute after each request it keeps the context of that request, with
    its span: some seconds of a flood were a hundred MiB, which the garbage collector looked through again and again.

    Parameters
    ----------
    app : ASGI application
    timeout : float
        Maximum number of seconds until the first part of a response.
    """

    def __init__(self, app: App, timeout: float) -> None:
        self._app = app
        self._timeout_s = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:

                async def begin(message: Message) -> None:
                    nonlocal begun
                    if not begun:
                        begun = True
                        deadline.reschedule(None)
                    await send(message)

                await self._app(scope, receive, begin)
        except TimeoutError:
            if begun:
                raise
            detail = f"The request could not be processed within {self._timeout_s:g} s."
            await JSONResponse({"detail": detail}, 504)(scope, receive, send)
