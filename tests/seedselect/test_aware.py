"""Features that know the source."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import ATBagging, SeedSelectError, SourceAwareFeatures
from seedselect.baselines import facility_location


class FirstColumn:
    """A source model that cares for one column only."""

    def predict(self, X):
        return np.sign(X[:, 0])


def test_rows_that_the_source_tells_apart_are_apart():
    X = np.random.default_rng(0).normal(size=(300, 6))
    near = np.tile(X[:1], (3, 1))
    near[:, 0] = [-0.05, 0.05, 0.15]
    blind = SourceAwareFeatures(FirstColumn(), weight=0.0, random_state=0).fit(X).transform(near)
    aware = SourceAwareFeatures(FirstColumn(), weight=1.0, random_state=0).fit(X).transform(near)
    # The step of the source lies between the first two rows.
    assert blind[0] @ blind[1] == pytest.approx(blind[1] @ blind[2], abs=0.02)
    assert aware[0] @ aware[1] < 0.7 * (aware[1] @ aware[2])
    np.testing.assert_allclose((aware**2).sum(axis=1), 1.0)


def test_weight_is_the_share_in_squared_distances():
    X = np.random.default_rng(0).normal(size=(400, 4))
    features = SourceAwareFeatures(FirstColumn(), weight=0.5, random_state=0).fit(X)
    joint = features._joint(X)
    assert joint[:, 4:].var(axis=0).sum() / joint[:, :4].var(axis=0).sum() == pytest.approx(0.5)


def test_with_a_fitted_committee(regression):
    X, y = regression
    model = ATBagging(n_estimators=20, random_state=0).fit(X, np.column_stack([y, X[:, 0]]))
    phi = SourceAwareFeatures(model, n_features=64, random_state=0).fit_transform(X)
    assert phi.shape == (400, 64)
    assert len(set(facility_location(phi, 12, np.random.default_rng(0)).tolist())) == 12
    with pytest.raises(SeedSelectError, match="weight"):
        SourceAwareFeatures(model, weight=-1).fit(X)
