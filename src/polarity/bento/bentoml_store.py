"""Adapter for the internals of BentoML's store that a promotion needs and the public API lacks.

`bentoml.bentos` offers get, list and delete, but it reads BENTOML_HOME only once per process, and it can neither copy
a Bento under a different tag nor point `latest` at one. Checked against the version below;
tests/unit/test_adapters.py fails when the installed version differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml.bentos
from bentoml.exceptions import BentoMLException

if TYPE_CHECKING:
    from bentoml import Bento
    from bentoml._internal.bento import BentoStore

BENTOML = "1.4.39"


def find(home: Path, tag: str) -> Bento | None:
    """The Bento with a tag (`NAME:VERSION` or `NAME:latest`) in a home; None if there is no readable one."""
    try:
        return bentoml.bentos.get(tag, _bento_store=_store(home))
    except BentoMLException:
        return None


def list_all(home: Path, name: str) -> list[Bento]:
    """All Bentos with a name, in no particular order."""
    try:
        return list(bentoml.bentos.list(name, _bento_store=_store(home)))
    except BentoMLException:
        return []


def delete(home: Path, tag: str) -> bool:
    """Remove a Bento; returns whether a readable one existed."""
    try:
        bentoml.bentos.delete(tag, _bento_store=_store(home))
    except BentoMLException:
        return False
    return True


def describe_as(bento: Bento, path: Path, tag: str, created: datetime, labels: Mapping[str, str] | None = None) -> None:
    """Write a Bento's description with a different tag and creation time, and with labels added."""
    import attr

    known = {**bento.info.labels, **(labels or {})}
    info = attr.evolve(bento.info, tag=bentoml.Tag.from_str(tag), creation_time=created, labels=known)
    with path.open("w") as file:
        info.dump(file)


def export(home: Path, tag: str, path: Path) -> None:
    """Write a Bento into one file, which `bentoml import` reads."""
    bentoml.bentos.export_bento(tag, str(path), _bento_store=_store(home))


def latest_pointer(home: Path, name: str) -> Path:
    """The file that stores the latest version of a name."""
    return home / "bentos" / bentoml.Tag(name, None).latest_path()


def _store(home: Path) -> BentoStore:
    from bentoml._internal.bento import BentoStore

    folder = home / "bentos"
    folder.mkdir(parents=True, exist_ok=True)
    return BentoStore(folder)
