"""Expected error of a Gaussian process over reference rows, as rows are labelled one by one."""

from __future__ import annotations

import numpy as np

from seedselect.kernel.gaussian import GaussianKernel
from tpainn_calc.base.arrays import Array


class ExpectedError:
    """The objective of an expected-error design and what each candidate would take off it.

    The target is thought of as a multiple of the source plus an independent Gaussian process. With
    ρ² the share of its variance that the source explains, the expected squared error after rows S

        J(S) = ρ² mean_v (f_v - m_S(v))² + (1 - ρ²) mean_v var_S(v) / s²

    has a part that the labels f of the source tell, and a part that no label tells before it is
    there; m_S and var_S are posterior mean and variance of the process that has seen f on S
    (Kennedy and O'Hagan, Biometrika 87, 1, 2000, for the model). ρ² = 0 is V-optimal design.

    Every added row is a rank-one update (Rasmussen and Williams 2006, sec. A.3): C columns and V
    rows of the posterior covariance are kept, O(V C) a step.

    Parameters
    ----------
    kernel : GaussianKernel
    candidates : array (C, d)
        Standardised.
    reference : array (V, d)
        Rows v over which the error is averaged.
    cheap_candidates, cheap_reference : array (C, K), (V, K)
        f, standardised; the mean over its columns counts.
    rho2 : float

    Attributes
    ----------
    label_term, variance_term : float
        The two means of J.
    """

    def __init__(
        self,
        kernel: GaussianKernel,
        candidates: Array,
        reference: Array,
        cheap_candidates: Array,
        cheap_reference: Array,
        rho2: float,
    ) -> None:
        self.kernel = kernel
        self.rho2 = rho2
        self._candidates = candidates
        self._cross = kernel(reference, candidates)
        self._variance = np.full(len(candidates), kernel.variance)
        self._reference_variance = np.full(len(reference), kernel.variance)
        # what is left of f: at candidates and at reference rows
        self._left = cheap_candidates.copy()
        self._reference_left = cheap_reference.copy()
        self._steps: list[Array] = []

    @property
    def label_term(self) -> float:
        """Mean over reference rows and columns of (f - m_S)²."""
        return float((self._reference_left**2).mean())

    @property
    def variance_term(self) -> float:
        """Mean over reference rows of var_S / s²."""
        return float(self._reference_variance.mean()) / self.kernel.signal

    @property
    def objective(self) -> float:
        """J(S)."""
        return self.rho2 * self.label_term + (1.0 - self.rho2) * self.variance_term

    def gains(self) -> Array:
        """Decrease of J by each candidate, (C,)."""
        denominator = self._variance + self.kernel.noise
        square = np.einsum("vc,vc->c", self._cross, self._cross) / len(self._cross)
        gain = (1.0 - self.rho2) * square / (denominator * self.kernel.signal)
        if self.rho2:
            step = self._left / denominator[:, None]
            overlap = self._cross.T @ self._reference_left / len(self._cross)
            gain += self.rho2 * (2.0 * step * overlap - step**2 * square[:, None]).mean(axis=1)
        return gain

    def information(self, candidate: int) -> float:
        """Information that a label of the candidate adds, nats."""
        return 0.5 * float(np.log1p(self._variance[candidate] / self.kernel.noise))

    def add(self, candidate: int) -> None:
        """Label a candidate."""
        here = self._candidates[candidate : candidate + 1]
        covariance = self.kernel(here, self._candidates)[0]
        for step in self._steps:
            covariance -= step[candidate] * step
        scale = np.sqrt(covariance[candidate] + self.kernel.noise)
        step = covariance / scale
        reference_step = self._cross[:, candidate] / scale
        surprise = self._left[candidate] / scale
        self._steps.append(step)
        self._left -= np.outer(step, surprise)
        self._reference_left -= np.outer(reference_step, surprise)
        self._variance = np.maximum(self._variance - step**2, 0.0)
        self._reference_variance -= reference_step**2
        self._cross -= np.outer(reference_step, step)
