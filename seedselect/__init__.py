"""seedselect: choose which configurations deserve an expensive label, by ATBagging and k-DPPs."""

from seedselect.atbagging import ATBagging
from seedselect.aware import SourceAwareFeatures
from seedselect.conditioning import posterior_transform
from seedselect.errors import SeedSelectError
from seedselect.features import LinearFeatures, RandomFourierFeatures
from seedselect.gram import DualGram, Spectrum
from seedselect.greedy import greedy_map
from seedselect.inclusion import inclusion_probabilities
from seedselect.kdpp import sample_kdpp
from seedselect.kernel import LowRankKernel
from seedselect.pool import ArrayPool, DaskPool, Hdf5Pool, NpyPool, Pool, ShardPool, as_pool
from seedselect.scores import joint_kl, local_kl, marginal_kl, split_half_reliability
from seedselect.selection import Selection

__all__ = [
    "ATBagging",
    "ArrayPool",
    "DaskPool",
    "DualGram",
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
