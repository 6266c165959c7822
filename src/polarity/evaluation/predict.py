"""What is measured: anything that answers texts with probabilities. Apart, so that who needs it needs no figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polarity.data.tweets import FloatArray

Predict = Callable[[Sequence[str]], FloatArray]
