"""Observables of systems whose answer is known, and what is said to a user who errs."""

from __future__ import annotations

import ase
import ase.build
import ase.units
import MDAnalysis
import numpy as np
import pytest

from tpainn_calc.errors import ConfigError, DataError
from tpainn_calc.observables import (
    GOO_XRAY_295K,
    block_average,
    density,
    diffusion,
    load_trajectory,
    plot_density,
    plot_msd,
    plot_rdf,
    rdf,
    yeh_hummer_correction,
)

TRICLINIC = np.array([[12.0, 0.0, 0.0], [2.0, 11.0, 0.0], [-1.0, 1.5, 13.0]])


def ar1(rng, length, phi):
    """AR(1) noise of unit variance; its mean has variance (1 + phi) / (1 - phi) / length."""
    out = np.empty(length)
    out[0] = rng.normal()
    kicks = rng.normal(scale=np.sqrt(1 - phi**2), size=length)
    for k in range(1, length):
        out[k] = phi * out[k - 1] + kicks[k]
    return out


def ideal_gas(cell=TRICLINIC, n_frames=40, n_atoms=80, symbols=None, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ase.Atoms(
            symbols or ["O"] * n_atoms,
            positions=rng.random((n_atoms, 3)) @ cell,
            cell=cell,
            pbc=True,
        )
        for _ in range(n_frames)
    ]


def random_walk(d, interval_ps, n_frames=2000, n_atoms=64, cell=TRICLINIC, seed=1):
    """Positions (T, n, 3) of walkers with diffusion coefficient d in Å²/ps, and their cell."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=np.sqrt(2 * d * interval_ps), size=(n_frames, n_atoms, 3))
    return rng.random((n_atoms, 3)) @ cell + np.cumsum(steps, axis=0)


def frames_of(positions, cells, wrap=False):
    cells = np.broadcast_to(cells, (len(positions), 3, 3))
    frames = []
    for x, cell in zip(positions, cells, strict=True):
        atoms = ase.Atoms(["O"] * len(x), positions=x, cell=cell, pbc=True)
        if wrap:
            atoms.wrap()
        frames.append(atoms)
    return frames


class TestBlockAverage:
    @pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
    def test_error_of_correlated_noise(self, phi):
        rng = np.random.default_rng(11)
        length = 8192
        averages = [block_average(ar1(rng, length, phi)) for _ in range(20)]
        exact = np.sqrt((1 + phi) / (1 - phi) / length)
        assert np.mean([a.error for a in averages]) == pytest.approx(exact, rel=0.1)
        assert all(a.converged for a in averages)
        # The spread of the means themselves is the definition of the error.
        assert np.std([a.mean for a in averages]) == pytest.approx(exact, rel=0.5)

    def test_short_series_says_that_it_is_not_converged(self):
        slow = ar1(np.random.default_rng(0), 200, 0.99)
        average = block_average(slow)
        assert not average.converged
        assert average.n_blocks >= 5

    def test_constant_and_single(self):
        constant = block_average(np.full(100, 0.1))
        assert constant.mean == pytest.approx(0.1)
        assert constant.error == 0.0
        single = block_average([3.0])
        assert single.mean == 3.0
        assert np.isnan(single.error)

    @pytest.mark.parametrize(
        ("series", "message"), [([], "needed"), ([[1.0]], "needed"), ([1.0, np.nan], "value 1 ")]
    )
    def test_errors(self, series, message):
        with pytest.raises(DataError, match=message):
            block_average(series)


class TestDensity:
    @pytest.mark.parametrize("left_handed", [False, True])
    def test_known_box(self, left_handed):
        cell = TRICLINIC[[1, 0, 2]] if left_handed else TRICLINIC
        symbols = ["O", "H", "H"] * 20
        result = density(load_trajectory(ideal_gas(cell, 6, 60, symbols)))
        mass = 20 * (15.999 + 2 * 1.008)
        expected = mass / ase.units.mol / abs(np.linalg.det(cell)) * 1e24
        assert result.value == pytest.approx(expected, rel=1e-6)
        # float32 cells are the limit
        assert result.error == pytest.approx(0.0, abs=1e-6)
        assert result.unit == "g/cm³"
        assert len(result.series) == 6

    def test_fluctuating_box(self):
        rng = np.random.default_rng(3)
        factors = 1 + 0.02 * ar1(rng, 4000, 0.8)
        frames = [ase.Atoms("O", cell=np.eye(3) * 10 * f ** (-1 / 3), pbc=True) for f in factors]
        result = density(load_trajectory(frames))
        base = 15.999 / ase.units.mol * 1e24 / 1000
        exact = base * 0.02 * np.sqrt(9 / 4000)
        assert result.value == pytest.approx(base * factors.mean(), rel=1e-5)
        assert result.error == pytest.approx(exact, rel=0.3)
        assert result.converged
        tail = density(load_trajectory(frames), start=3000, stop=4000, step=2)
        np.testing.assert_allclose(tail.series, result.series[3000:4000:2])


class TestRdf:
    @pytest.mark.parametrize("pair", [("O", "O"), ("O", "H"), ("H", "O")])
    def test_ideal_gas_is_one(self, pair):
        symbols = ["O"] * 40 + ["H"] * 40
        universe = load_trajectory(ideal_gas(n_frames=60, symbols=symbols))
        result = rdf(universe, *pair, n_bins=20)
        far = result.r > 1.5
        deviation = (result.g - 1)[far] / result.g_error[far]
        # Ten blocks: Student's t with nine degrees of freedom has a variance of 9/7.
        assert np.mean(deviation**2) < 2.5
        assert result.g[far].mean() == pytest.approx(1.0, abs=0.01)
        assert result.pair == pair
        assert result.unit == "1"

    def test_lattice_peaks(self):
        rng = np.random.default_rng(0)
        frames = []
        for _ in range(6):
            atoms = ase.build.bulk("Cu", "fcc", a=4.0, cubic=True).repeat(3)
            atoms.numbers[:] = 8
            # Any orientation, anywhere in space.
            atoms.rotate(37, (1, 2, 3), rotate_cell=True)
            atoms.positions += rng.integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array
            frames.append(atoms)
        result = rdf(load_trajectory(frames), n_bins=60, r_max=5.4)
        width = result.r[1] - result.r[0]
        peaks = result.r[result.g > 0]
        shells = np.array([np.sqrt(0.5), 1.0, np.sqrt(1.5)]) * 4.0
        assert all(np.abs(shells - r).min() <= width for r in peaks)
        assert all(np.abs(peaks - r).min() <= width for r in shells)
        # The integral over the first peak is the coordination number.
        first = np.abs(result.r - shells[0]) <= width
        volumes = 4 * np.pi / 3 * ((result.r + width / 2) ** 3 - (result.r - width / 2) ** 3)
        pairs = 107 / 12.0**3
        assert (result.g * volumes)[first].sum() * pairs == pytest.approx(12.0, rel=1e-4)
        assert result.value == result.g.max()
        assert result.peak_r == pytest.approx(shells[0], abs=width)

    def test_default_r_max_is_half_the_smallest_height(self):
        result = rdf(load_trajectory(ideal_gas(n_frames=5)))
        heights = 1 / np.linalg.norm(np.linalg.inv(TRICLINIC), axis=0)
        edge = result.r[-1] + 0.5 * (result.r[1] - result.r[0])
        assert edge == pytest.approx(heights.min() / 2, rel=1e-5)

    def test_errors(self):
        universe = load_trajectory(ideal_gas(n_frames=5))
        with pytest.raises(ConfigError, match="r_max must lie between"):
            rdf(universe, r_max=7.0)
        with pytest.raises(ConfigError, match="n_bins"):
            rdf(universe, n_bins=0)
        with pytest.raises(ConfigError, match="n_blocks must be at least 5"):
            rdf(universe, n_blocks=2)
        with pytest.raises(DataError, match=r'no atoms of element "H": there are O'):
            rdf(universe, "O", "H")
        with pytest.raises(DataError, match=r'did you mean "O"'):
            rdf(universe, "o")
        with pytest.raises(DataError, match="4 frames give no error bar"):
            rdf(universe, stop=4)
        with pytest.raises(DataError, match="no frames from 9"):
            rdf(universe, start=9)
        with pytest.raises(ConfigError, match="step must be"):
            rdf(universe, step=0)
        with pytest.raises(DataError, match="one atom of O"):
            rdf(load_trajectory(ideal_gas(n_frames=5, n_atoms=1)))
        slab = ideal_gas(n_frames=5)
        slab[3].pbc = (True, True, False)
        for function in (rdf, density):
            with pytest.raises(DataError, match="frame 3 has no cell"):
                function(load_trajectory(slab))
        unnamed = MDAnalysis.Universe.empty(3, trajectory=True)
        with pytest.raises(DataError, match="which elements"):
            rdf(unnamed)


class TestDiffusion:
    def test_known_coefficient(self):
        d, interval = 0.25, 0.02
        positions = random_walk(d, interval)
        universe = load_trajectory(frames_of(positions, TRICLINIC), frame_interval_fs=20.0)
        result = diffusion(universe, remove_drift=False, n_blocks=10)
        assert abs(result.value - d) < 3 * result.error
        assert result.error < 0.03 * d
        assert result.unit == "Å²/ps"
        assert result.correction == 0.0
        assert result.time[1] == pytest.approx(interval)
        assert result.msd[0] == 0.0
        np.testing.assert_allclose(result.msd[5], 6 * d * result.time[5], rtol=0.02)
        low, high = result.fit_range
        assert 0.2 * result.time[-1] <= low < high <= 0.5 * result.time[-1]
        # Without the motion of the centre of mass, n walkers have n - 1 independent ones.
        without = diffusion(universe, n_blocks=10)
        assert abs(without.value - d * 63 / 64) < 3 * without.error

    def test_wrapped_equals_unwrapped(self):
        positions = random_walk(0.25, 0.02, n_frames=500)
        results = [
            diffusion(
                load_trajectory(frames_of(positions, TRICLINIC, wrap), frame_interval_fs=20.0)
            )
            for wrap in (False, True)
        ]
        np.testing.assert_allclose(results[0].msd, results[1].msd, atol=1e-4)
        assert results[0].value == pytest.approx(results[1].value, abs=1e-5)
        # The wrapped one really was wrapped: atoms leave the cell during the run.
        assert (np.abs(positions[-1] - positions[0]) > 3.0).any()

    def test_without_a_cell(self):
        positions = random_walk(0.25, 0.02, n_frames=500)
        free = [ase.Atoms("O64", positions=x) for x in positions]
        periodic = frames_of(positions, TRICLINIC)
        results = [diffusion(load_trajectory(f, frame_interval_fs=20.0)) for f in (free, periodic)]
        assert results[0].value == pytest.approx(results[1].value, abs=1e-5)

    def test_barostat_does_not_diffuse(self):
        # Atoms that stand still in a breathing cell, far from the origin.
        rng = np.random.default_rng(2)
        scaled = rng.random((64, 3)) + 5.0
        breath = 1 + 0.01 * rng.normal(size=500)
        cells = breath[:, None, None] * TRICLINIC
        universe = load_trajectory(frames_of(scaled @ cells, cells), frame_interval_fs=20.0)
        assert diffusion(universe).value == pytest.approx(0.0, abs=1e-6)
        # And walkers keep their coefficient.
        positions = random_walk(0.25, 0.02, n_frames=500)
        walk = (positions @ np.linalg.inv(TRICLINIC)) @ cells
        still = diffusion(load_trajectory(frames_of(positions, TRICLINIC), frame_interval_fs=20.0))
        moving = diffusion(load_trajectory(frames_of(walk, cells, True), frame_interval_fs=20.0))
        assert moving.value == pytest.approx(still.value, rel=2e-3)

    def test_drift_is_removed(self):
        positions = random_walk(0.25, 0.02, n_frames=500)
        drifting = positions + 0.05 * np.arange(500)[:, None, None]
        results = [
            diffusion(load_trajectory(frames_of(x, TRICLINIC), frame_interval_fs=20.0))
            for x in (positions, drifting)
        ]
        assert results[0].value == pytest.approx(results[1].value, abs=1e-4)

    def test_long_blocks_are_thinned(self):
        positions = random_walk(0.25, 0.02, n_frames=6000, n_atoms=8)
        universe = load_trajectory(frames_of(positions, TRICLINIC), frame_interval_fs=20.0)
        result = diffusion(universe, remove_drift=False)
        assert len(result.time) == 600
        assert result.time[1] == pytest.approx(0.04)
        assert abs(result.value - 0.25) < 4 * result.error

    def test_a_trajectory_too_short_for_diffusion_gives_no_number(self):
        """Free flight, and a cage: the MSD grows as t^2 and as t^0."""
        rng = np.random.default_rng(4)
        x, v = rng.random((64, 3)) @ TRICLINIC, rng.normal(scale=0.02, size=(64, 3))
        flying = x + np.arange(200)[:, None, None] * v
        caged = x + rng.normal(scale=0.2, size=(200, 64, 3))
        for positions, power in ((flying, "2.0"), (caged, r"-?0\.\d")):
            frames = frames_of(positions, TRICLINIC)
            universe = load_trajectory(frames, frame_interval_fs=10.0)
            with pytest.raises(DataError, match=rf"grows as t\^{power} from .* too short"):
                diffusion(universe)
            # the user's window is the user's, and the power says what it is worth
            chosen = diffusion(universe, fit_range=(0.1, 0.2))
            assert abs(chosen.exponent - 1) > 0.5
            assert np.isfinite(chosen.value)

    def test_diffusion_is_recognised(self):
        for seed in range(10):
            positions = random_walk(0.25, 0.02, n_frames=500, seed=seed)
            universe = load_trajectory(frames_of(positions, TRICLINIC), frame_interval_fs=20.0)
            assert diffusion(universe).exponent == pytest.approx(1.0, abs=0.2)

    def test_yeh_hummer_by_hand(self):
        # 2.837297 * 1.380649e-23 * 300 / (6 pi * 0.85e-3 * 12.42e-10) m²/s
        by_hand = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.85e-3 * 12.42e-10) * 1e8
        assert by_hand == pytest.approx(0.05906, abs=1e-5)
        assert yeh_hummer_correction(300, 0.85, 12.42) == pytest.approx(by_hand, rel=1e-6)
        cube = np.eye(3) * 12.42
        positions = random_walk(0.25, 0.02, n_frames=500, cell=cube)
        universe = load_trajectory(frames_of(positions, cube), frame_interval_fs=20.0)
        plain = diffusion(universe)
        corrected = diffusion(universe, temperature=300, viscosity=0.85)
        assert corrected.correction == pytest.approx(by_hand, rel=1e-6)
        assert corrected.value == pytest.approx(plain.value + by_hand, rel=1e-6)
        assert corrected.error == plain.error
        for wrong in ((0, 1, 1), (1, -1, 1), (1, 1, np.nan)):
            with pytest.raises(ConfigError, match="must be a positive number"):
                yeh_hummer_correction(*wrong)

    def test_errors(self):
        frames = frames_of(random_walk(0.25, 0.02, n_frames=100, n_atoms=4), TRICLINIC)
        universe = load_trajectory(frames, frame_interval_fs=20.0)
        with pytest.raises(DataError, match="time between frames is not known"):
            diffusion(load_trajectory(frames))
        with pytest.raises(DataError, match="too few"):
            diffusion(universe, stop=49)
        with pytest.raises(DataError, match="only one"):
            diffusion(universe, stop=1)
        with pytest.raises(ConfigError, match="n_blocks"):
            diffusion(universe, n_blocks=1)
        for fit_range in ((0.0, 1.0), (-0.1, 0.3), (0.1, 0.11)):
            with pytest.raises(ConfigError, match="fit_range"):
                diffusion(universe, fit_range=fit_range)
        with pytest.raises(ConfigError, match="both temperature and viscosity"):
            diffusion(universe, temperature=300)
        with pytest.raises(DataError, match="cubic cells only"):
            diffusion(universe, temperature=300, viscosity=0.85)
        with pytest.raises(DataError, match='no atoms of element "Si"'):
            diffusion(universe, "Si")
        with pytest.raises(DataError, match="too far apart"):
            diffusion(load_trajectory(ideal_gas(n_frames=100), frame_interval_fs=20.0))
        free = load_trajectory([ase.Atoms("O4", x.positions) for x in frames], frame_interval_fs=20)
        with pytest.raises(DataError, match="needs a periodic cell"):
            diffusion(free, temperature=300, viscosity=0.85)
        frames[50].pbc = False
        with pytest.raises(DataError, match="frame 50 has no periodic cell"):
            diffusion(load_trajectory(frames, frame_interval_fs=20.0))


class TestFigures:
    def test_every_figure_is_written(self, tmp_path):
        cube = np.eye(3) * 16.0
        positions = random_walk(0.25, 0.02, n_frames=100, cell=cube)
        universe = load_trajectory(frames_of(positions, cube), frame_interval_fs=20.0)
        goo = rdf(universe)
        plot_rdf(goo, GOO_XRAY_295K, tmp_path / "goo.png")
        plot_msd(diffusion(universe), tmp_path / "msd.png")
        plot_density(density(universe), tmp_path / "density.png")
        for name in ("goo", "msd", "density"):
            assert (tmp_path / f"{name}.png").stat().st_size > 5000
        axes = plot_rdf(goo, GOO_XRAY_295K).axes[0]
        assert axes.get_legend().get_texts()[1].get_text() == "X-ray, 295.1 K"

    def test_no_figure_touches_pyplot(self):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        before = pyplot.get_fignums()
        plot_rdf(rdf(load_trajectory(ideal_gas(n_frames=5))))
        assert pyplot.get_fignums() == before

    def test_reference_has_water_s_peak(self):
        r, g = np.array(GOO_XRAY_295K.r), np.array(GOO_XRAY_295K.g)
        assert len(r) == len(g)
        assert (np.diff(r) > 0).all()
        assert r[g.argmax()] == 2.80
        assert "138, 074506 (2013)" in GOO_XRAY_295K.citation
