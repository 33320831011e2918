"""Seeds: any `random_state` of scikit-learn as entropy of NumPy's generators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_random_state


def entropy_of(random_state: Any) -> tuple[int, ...]:
    """Return entropy for `numpy.random.default_rng`: equal integers give equal entropy."""
    if isinstance(random_state, int | np.integer):
        return (int(random_state) % 2**32,)
    return (int(check_random_state(random_state).randint(2**31 - 1)),)
