"""`python -m ops.pages`: the folders of the runs over HTTP, so that links in the Prefect UI open."""

from contextlib import suppress
from datetime import datetime
from os import PathLike, fsencode, stat_result
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from urllib.parse import quote, urlsplit

import uvicorn
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ops.finished_runs import as_json, finished_runs
from polarity.config.page_policy import CONTENT_SECURITY_POLICY
from polarity.config.settings import settings

LISTING = Environment(autoescape=True).from_string("""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ title }}</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td { padding: .3rem .6rem; border-top: 1px solid #8883 }
td + td { text-align: right; white-space: nowrap; opacity: .7 } a { text-decoration: none }
th { text-align: left; padding: .3rem .6rem } th + th { text-align: right }
a:hover { text-decoration: underline } h2 { font-size: 1.1rem }
h1 { font-size: 1.3rem; overflow-wrap: anywhere }
:root { color-scheme: light dark }</style><h1>{{ title }}</h1>
{% if trainings %}<table>
<tr><th>Training</th><th>Chosen</th><th>Accuracy</th><th></th></tr>
{% for one in trainings %}<tr><td>{{ one.started }}<br><small>{{ one.source }}</small></td>
<td>{{ one.selected }}<br><small>{{ one.verdict }}</small></td><td>{{ one.accuracy }}</td>
<td>{% for name, link in one.links %}<a href="{{ link }}">{{ name }}</a> {% endfor %}</td></tr>
{% endfor %}</table><h2>Folders</h2>{% endif %}<table>
{% if above %}<tr><td><a href="../">one up</a></td><td></td><td></td></tr>{% endif %}
{% for entry in entries %}<tr><td><a href="{{ entry.address }}">{{ entry.name }}</a></td><td>{{ entry.size }}</td>
<td>{{ entry.changed }}</td></tr>
{% endfor %}</table></html>
""")
HEADERS = {
    "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_LINKS = {"report": "Report", "data_docs": "Data Docs", "mlflow": "MLflow"}
SHOWN_AS_TEXT = {".md", ".log", ".json", ".txt", ".toml"}


class RunFiles(StaticFiles):
    """Starlette's static files, with a listing of each folder, the newest entry first."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, a listing, or for a folder without a slash at its end the address with one."""
        try:
            full_path, status = self.lookup_path(path)
        except (ValueError, OSError):  # a NUL in it, or longer than the file system takes
            raise HTTPException(404) from None
        if status is None or not Path(full_path).is_dir():
            return await super().get_response(path, scope)
        if not scope["path"].endswith("/"):
            return RedirectResponse(f"{quote(scope['path'].rsplit('/', 1)[-1])}/")
        return self._listing(Path(full_path))

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Show text as text: a browser would download some of it."""
        if Path(full_path).suffix in SHOWN_AS_TEXT:
            return FileResponse(full_path, status_code, media_type="text/plain; charset=utf-8", stat_result=stat_result)
        return super().file_response(full_path, stat_result, scope, status_code)

    def _listing(self, folder: Path) -> Response:
        assert self.directory is not None
        root = Path(self.directory).resolve()
        found = []
        for entry in folder.iterdir():
            with suppress(OSError):  # a link to nowhere, or a file that has just been deleted
                if not entry.name.startswith("."):
                    found.append((entry.name, entry.stat()))
        found.sort(key=lambda entry: (S_ISDIR(entry[1].st_mode), entry[1].st_mtime), reverse=True)
        inside = folder.relative_to(root).as_posix()
        return HTMLResponse(
            LISTING.render(
                title="runs" if inside == "." else f"runs/{inside}",
                above=inside != ".",
                entries=[_described(*entry) for entry in found],
                trainings=_trainings(root) if inside == "." else [],
            )
        )


class SafetyHeaders:
    """Adds HEADERS to every answer, files, listings and errors alike."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _trainings(runs: Path) -> list[dict[str, Any]]:
    """What the listing of all runs says of each finished training."""
    rows = []
    for _, summary, links in finished_runs(runs, settings().mlflow_ui_url):
        selected = summary.verdict.selected
        model = next((one for one in summary.models if one.name == selected), None)
        verdict = "new champion" if summary.verdict.promoted else "the champion stayed" if selected else ""
        rows.append(
            {
                "started": f"{datetime.fromisoformat(summary.started):%Y-%m-%d %H:%M}",
                "source": summary.data.source,
                "selected": selected or "none",
                "verdict": verdict,
                "accuracy": f"{model.test['accuracy']:.3f}" if model else "",
                "links": [(_LINKS[name], link.removeprefix("runs/")) for name, link in links.items() if name in _LINKS],
            }
        )
    return rows


def _described(name: str, status: stat_result) -> dict[str, str]:
    is_folder = S_ISDIR(status.st_mode)
    # The file system's names are bytes, not all of them text.
    shown, slash = fsencode(name).decode(errors="replace"), "/" if is_folder else ""
    return {
        "name": shown + slash,
        "address": quote(fsencode(name)) + slash,
        "size": "" if is_folder else _size(status.st_size),
        "changed": datetime.fromtimestamp(status.st_mtime).strftime("%Y-%m-%d %H:%M"),
    }


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def application(runs: Path) -> Starlette:
    """The pages of the runs in a folder."""

    async def not_found(_: object, __: Exception) -> Response:
        return HTMLResponse("<p>There is no such file in any run. <a href='/runs/'>All runs</a></p>", 404)

    return Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse("/runs/")),
            Route("/runs.json", lambda _: JSONResponse(as_json(runs, settings().mlflow_ui_url))),
            Mount("/runs", RunFiles(directory=runs)),
        ],
        middleware=[Middleware(SafetyHeaders)],
        exception_handlers={404: not_found},
    )


if __name__ == "__main__":
    place = urlsplit(settings().ui_url)
    uvicorn.run(
        application(settings().runs_folder), host=place.hostname or "127.0.0.1", port=place.port or 80,
        log_level="warning",
    )  # fmt: skip
