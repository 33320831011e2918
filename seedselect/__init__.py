"""seedselect: choose which configurations deserve an expensive label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpainn_calc.base.lazy import public_names

if TYPE_CHECKING:
    from seedselect.atbagging import ATBagging
    from seedselect.design import SourceDesign
    from seedselect.errors import SeedSelectError
    from seedselect.frames.atoms import FramePool
    from seedselect.kernel.features import LinearFeatures, RandomFourierFeatures
    from seedselect.kernel.gram import DualGram, Spectrum
    from seedselect.kernel.low_rank import LowRankKernel
    from seedselect.kernel.posterior import posterior_transform
    from seedselect.kernel.source_features import SourceAwareFeatures
    from seedselect.pools.arrays import ArrayPool, Hdf5Pool, NpyPool, ShardPool
    from seedselect.pools.dask_pool import DaskPool
    from seedselect.pools.opening import as_pool
    from seedselect.pools.pool import Pool
    from seedselect.sampling.greedy import greedy_map
    from seedselect.sampling.inclusion import inclusion_probabilities
    from seedselect.sampling.kdpp import sample_kdpp
    from seedselect.scores.divergence import (
        joint_kl,
        local_kl,
        marginal_kl,
        split_half_reliability,
    )
    from seedselect.selection import Selection

__all__ = [
    "ATBagging",
    "ArrayPool",
    "DaskPool",
    "DualGram",
    "FramePool",
    "Hdf5Pool",
    "LinearFeatures",
    "LowRankKernel",
    "NpyPool",
    "Pool",
    "RandomFourierFeatures",
    "SeedSelectError",
    "Selection",
    "ShardPool",
    "SourceAwareFeatures",
    "SourceDesign",
    "Spectrum",
    "as_pool",
    "greedy_map",
    "inclusion_probabilities",
    "joint_kl",
    "local_kl",
    "marginal_kl",
    "posterior_transform",
    "sample_kdpp",
    "split_half_reliability",
]

# where each public name lives: scikit-learn is loaded with the first name that needs it
_HOME = {
    "ATBagging": "atbagging",
    "SeedSelectError": "errors",
    "SourceDesign": "design",
    "FramePool": "frames.atoms",
    "LinearFeatures": "kernel.features",
    "RandomFourierFeatures": "kernel.features",
    "DualGram": "kernel.gram",
    "Spectrum": "kernel.gram",
    "LowRankKernel": "kernel.low_rank",
    "posterior_transform": "kernel.posterior",
    "SourceAwareFeatures": "kernel.source_features",
    "greedy_map": "sampling.greedy",
    "inclusion_probabilities": "sampling.inclusion",
    "sample_kdpp": "sampling.kdpp",
    "joint_kl": "scores.divergence",
    "local_kl": "scores.divergence",
    "marginal_kl": "scores.divergence",
    "split_half_reliability": "scores.divergence",
    "Selection": "selection",
    "ArrayPool": "pools.arrays",
    "Hdf5Pool": "pools.arrays",
    "NpyPool": "pools.arrays",
    "ShardPool": "pools.arrays",
    "DaskPool": "pools.dask_pool",
    "as_pool": "pools.opening",
    "Pool": "pools.pool",
}

__getattr__, __dir__ = public_names(__name__, _HOME)
