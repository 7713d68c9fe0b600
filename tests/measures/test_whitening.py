"""Whitening from features and from a covariance that is known."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures.whitening import fit_whitening, whitening_matrix


def test_a_whitening_from_a_covariance_is_the_one_of_the_features() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) * np.logspace(-2, 2, 6)
    found = whitening_matrix(np.cov(x.T, bias=True), 300)
    np.testing.assert_allclose(np.abs(found), np.abs(fit_whitening(x).matrix), rtol=1e-6)
    with pytest.raises(ProbeError, match="11 images for 6 dimensions"):
        whitening_matrix(np.cov(x.T), 11)
    with pytest.raises(ProbeError, match="nothing to whiten"):
        whitening_matrix(np.zeros((2, 2)), 11)
