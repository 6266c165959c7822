"""The state of the canary, as it stands in the record's one row about the challenger."""

from __future__ import annotations

from typing import Literal

import msgspec

Phase = Literal["off", "running", "paused", "back", "passed", "promoted", "unregistered"]
"""`off`: only mirrored; `back`: no client any more; `unregistered`: passed, but not promoted, for the stated reason."""


class CanaryState(msgspec.Struct, frozen=True):
    """How far a challenger has come.

    Attributes
    ----------
    phase : Phase
    share : float
        Of the clients; while paused, the one to resume with.
    version : str
        Of the challenger's model; empty until it has answered. Another version begins anew.
    since, began : float
        When the present step and the comparison of the two models began, in seconds since 1970.
    reason : str
        Why it stands so, as the monitor put it.
    announced : bool
        Whether the event of this step has been emitted.
    """

    phase: Phase = "off"
    share: float = 0.0
    version: str = ""
    since: float = 0.0
    began: float = 0.0
    reason: str = ""
    announced: bool = True

    @property
    def clients(self) -> float:
        """The share of the clients that the challenger answers now."""
        return 0.0 if self.phase in ("off", "paused", "back") else self.share

    def paused(self) -> CanaryState:
        """The same for nobody, until it is resumed."""
        return msgspec.structs.replace(self, phase="paused")

    def resumed(self, now: float) -> CanaryState:
        """The same with the present step begun anew; one that had gone back begins with the first step."""
        began = self.began or now
        return msgspec.structs.replace(self, phase="running", since=now, began=began, reason="")
