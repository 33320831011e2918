"""Types of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: An array of float64, of the shape that the docstring states.
Array = NDArray[np.float64]
