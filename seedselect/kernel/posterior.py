"""Condition a feature map on points that are labelled or whose label is on its way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.pools.pool import Pool, check_finite
from tpainn_calc.base.arrays import Array


def posterior_transform(known: Array, noise: float) -> Array:
    """Return T = (I + F'F / noise)^(-1/2) for the features F of known points.

    phi(x)' T T phi(z) is the posterior covariance of a Gaussian process with kernel phi'phi that
    has seen the known points with variance `noise` (Rasmussen and Williams 2006, eq. 2.11).

    Parameters
    ----------
    known : array (m, D)
    noise : float, > 0
        In units of the prior variance of a point, which is 1.

    Returns
    -------
    array (D, D), symmetric
    """
    if not noise > 0:
        raise SeedSelectError(f"noise={noise!r} must be positive")
    # With F = U s V', T = I - V (1 - (1 + s^2/noise)^(-1/2)) V': exact for m < D as well.
    _, s, vt = np.linalg.svd(np.asarray(known, dtype=float), full_matrices=False)
    shrink = 1.0 - 1.0 / np.sqrt(1.0 + s**2 / noise)
    return np.eye(vt.shape[1]) - (vt.T * shrink) @ vt


def known_points(pool: Pool, **groups: Any) -> tuple[NDArray[np.bool_], Array | None]:
    """Return which pool rows are open, and the descriptors of all known points.

    Parameters
    ----------
    pool : Pool
    **groups : int array of pool rows, float array (m, d), or None
        Named by what they are (``labeled=``, ``pending=``), for the error messages.

    Returns
    -------
    open_rows : bool array (n,)
    known : array (m, d) or None
    """
    open_rows = np.ones(pool.n, dtype=bool)
    points = []
    for name, value in groups.items():
        if value is None or len(value) == 0:
            continue
        array = np.asarray(value)
        if array.ndim == 1 and array.dtype.kind in "iu":
            outside = array[(array < 0) | (array >= pool.n)]
            if len(outside):
                raise SeedSelectError(
                    f"{name} row {int(outside[0])} is outside the pool of {pool.n} rows"
                )
            open_rows[array] = False
            points.append(pool.take(array.astype(np.intp)))
        elif array.ndim == 2 and array.shape[1] == pool.n_features:
            points.append(check_finite(array.astype(float), 0, name))
        else:
            raise SeedSelectError(
                f"{name} has shape {array.shape}: give pool row numbers or "
                f"(m, {pool.n_features}) descriptors"
            )
    return open_rows, np.concatenate(points) if points else None
