"""`python -m ops.pages`: the runs' folders over HTTP, so that links in the Prefect UI open."""

import html
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from polarity.config.settings import settings

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }} td {{ padding: .3rem .6rem; border-top: 1px solid #8883 }}
td + td {{ text-align: right; white-space: nowrap; opacity: .7 }} a {{ text-decoration: none }}
a:hover {{ text-decoration: underline }} h1 {{ font-size: 1.3rem; overflow-wrap: anywhere }}
:root {{ color-scheme: light dark }}</style><h1>{title}</h1><table>{rows}</table></html>
"""
TEXT = {".md", ".log", ".json", ".txt", ".toml"}


def show(request: Request) -> Response:
    """A file of a run, or what is in a folder, the newest first."""
    root = settings().runs_folder.resolve()
    path = (root / request.path_params.get("path", "")).resolve()
    if not path.is_relative_to(root) or not path.exists():
        raise HTTPException(404, "There is no such file in any run.")
    if path.is_file():
        return FileResponse(path, media_type="text/plain; charset=utf-8" if path.suffix in TEXT else None)
    if not request.url.path.endswith("/"):
        return RedirectResponse(f"{request.url.path}/")
    found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    found.sort(key=lambda entry: (entry.is_dir(), entry.stat().st_mtime), reverse=True)
    above = [] if path == root else ['<tr><td><a href="../">one up</a></td><td></td><td></td></tr>']
    title = f"runs/{path.relative_to(root).as_posix()}" if path != root else "runs"
    return HTMLResponse(PAGE.format(title=html.escape(title), rows="".join([*above, *map(_row, found)])))


def _row(entry: Path) -> str:
    status, name = entry.stat(), entry.name + ("/" if entry.is_dir() else "")
    size = "" if entry.is_dir() else _size(status.st_size)
    changed = datetime.fromtimestamp(status.st_mtime).strftime("%Y-%m-%d %H:%M")
    return f'<tr><td><a href="{quote(name)}">{html.escape(name)}</a></td><td>{size}</td><td>{changed}</td></tr>'


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


app = Starlette(
    routes=[
        Route("/", lambda _: RedirectResponse("/runs/")),
        Route("/runs", lambda _: RedirectResponse("/runs/")),
        Route("/runs/{path:path}", show),
    ]
)

if __name__ == "__main__":
    place = urlsplit(settings().ui_url)
    uvicorn.run(app, host=place.hostname or "127.0.0.1", port=place.port or 80, log_level="warning")
