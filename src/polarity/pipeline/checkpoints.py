"""The checkpoints of a running step, in the result store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polarity.errors import PolarityError
from polarity.families.checkpoints import checkpoint_files, newest_complete
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import Store

Note = Callable[[str], object]


class StepCheckpoints:
    """The checkpoints of one step. A store that is away costs no fit: the step goes on without it.

    Parameters
    ----------
    store : Store
    fingerprint : Fingerprint
        Of the step's result.
    note : callable
        Called with what a user should know, a sentence.
    """

    def __init__(self, store: Store, fingerprint: Fingerprint, note: Note) -> None:
        self.folder = store.checkpoint_folder(fingerprint)
        self._store, self._fingerprint, self._note = store, fingerprint, note
        self._shared: list[Path] = []

    def resume(self) -> Path | None:
        """The newest complete checkpoint, if an interrupted try left one."""
        try:
            self._store.pull_checkpoints(self._fingerprint)
        except PolarityError as error:
            self._note(f"Checkpoints of other machines were not fetched. {error}")
        newest = newest_complete(self.folder, self._note)
        if newest:
            self._note(f"An earlier try was interrupted; continuing after {int(newest.stem):,} batches, from {newest}.")
        return newest

    def share(self) -> None:
        """Make new checkpoints available to other machines."""
        if not self._store.is_remote or (files := checkpoint_files(self.folder)) == self._shared:
            return
        self._shared = files
        try:
            self._store.push_checkpoints(self._fingerprint)
        except PolarityError as error:
            self._note(f"The last checkpoint was not uploaded. {error}")
