from __future__ import annotations

import numpy as np
import pytest

from polarity.errors import ArtifactError
from polarity.families.parity import accuracy_loss, require_parity

TRAINED = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], dtype=np.float32)


def test_small_differences_pass_and_are_reported() -> None:
    parity = require_parity(TRAINED, TRAINED + np.float32(5e-4), what="it")
    assert parity["max_difference"] == pytest.approx(5e-4, rel=1e-2)
    assert parity["rows"] == 3


@pytest.mark.parametrize("wrong", [0.002, np.nan])
def test_one_probability_that_differs_fails_the_package(wrong: float) -> None:
    packaged = TRAINED.copy()
    packaged[1, 0] += wrong
    with pytest.raises(ArtifactError, match=r"'bilstm' .*does not match the trained model.*3 validation tweets"):
        require_parity(TRAINED, packaged, what="'bilstm' as packaged")


def test_accuracy_loss_is_signed() -> None:
    labels = np.array([1, 0, 0])
    worse = TRAINED[:, ::-1]
    assert accuracy_loss(TRAINED, worse, labels) == pytest.approx(2 / 3)
    assert accuracy_loss(worse, TRAINED, labels) == pytest.approx(-2 / 3)
