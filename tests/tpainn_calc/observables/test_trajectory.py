"""Reading trajectories: the same frames through every door, and every error."""

from __future__ import annotations

import gzip
import shutil

import ase
import ase.io
import numpy as np
import pytest

from tpainn_calc.errors import ConfigError, DataError
from tpainn_calc.observables import density, diffusion, load_trajectory, rdf

CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-1.0, 0.5, 10.0]])


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    x = rng.random((9, 3)) @ CELL
    out = []
    for k in range(60):
        x = x + rng.normal(scale=0.1, size=x.shape)
        out.append(ase.Atoms("OHH" * 3, positions=x, cell=CELL * (1 + 0.001 * k), pbc=True))
    return out


def write_dump(path, frames, columns="id type x y z", every=10, types=("O", "H"), pbc="pp pp pp"):
    """LAMMPS text dump with atoms in another order in every frame and the origin off zero."""
    rng = np.random.default_rng(1)
    low = np.array([-2.0, 1.0, 0.5])
    lines = []
    for k, atoms in enumerate(frames):
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = atoms.cell.array
        x_low, x_high = min(0, xy, xz, xy + xz), max(0, xy, xz, xy + xz)
        lines += ["ITEM: TIMESTEP", str(every * k), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += [
            f"ITEM: BOX BOUNDS xy xz yz {pbc}",
            f"{low[0] + x_low:.10f} {low[0] + lx + x_high:.10f} {xy:.10f}",
            f"{low[1] + min(0, yz):.10f} {low[1] + ly + max(0, yz):.10f} {xz:.10f}",
            f"{low[2]:.10f} {low[2] + lz:.10f} {yz:.10f}",
            f"ITEM: ATOMS {columns}",
        ]
        for i in rng.permutation(len(atoms)):
            x, y, z = atoms.positions[i] + low
            known = {
                "id": i + 1,
                "type": types.index(atoms.symbols[i]) + 1,
                "element": atoms.symbols[i],
            }
            known |= dict(zip(("x", "y", "z"), (x, y, z), strict=True))
            known |= dict(zip(("xu", "yu", "zu"), (x, y, z), strict=True))
            lines.append(" ".join(str(known[c]) for c in columns.split()))
    path.write_text("\n".join(lines) + "\n")
    return path


def same(universe, frames, atol=2e-5):
    assert universe.trajectory.n_frames == len(frames)
    assert universe.atoms.elements.tolist() == frames[0].get_chemical_symbols()
    np.testing.assert_allclose(universe.atoms.masses, frames[0].get_masses(), rtol=1e-3)
    for ts, atoms in zip(universe.trajectory, frames, strict=True):
        np.testing.assert_allclose(ts.positions, atoms.positions, atol=atol)
        np.testing.assert_allclose(ts.triclinic_dimensions, atoms.cell.array, atol=atol)


@pytest.mark.parametrize("name", ["t.extxyz", "t.xyz", "t.traj", "t.extxyz.gz"])
def test_ase_files(frames, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".gz":
        plain = tmp_path / "plain.extxyz"
        ase.io.write(plain, frames)
        with plain.open("rb") as source, gzip.open(path, "wb") as target:
            shutil.copyfileobj(source, target)
    else:
        ase.io.write(path, frames, format=None if name == "t.traj" else "extxyz")
    universe = load_trajectory(path, frame_interval_fs=50.0)
    same(universe, frames)
    assert universe.trajectory.dt == pytest.approx(0.05)
    thinned = load_trajectory(str(path), frame_interval_fs=50.0, step=7)
    same(thinned, frames[::7])
    assert thinned.trajectory.dt == pytest.approx(0.35)


@pytest.mark.parametrize("columns", ["id type x y z", "id element xu yu zu", "xu yu zu type id"])
@pytest.mark.parametrize("name", ["dump.lammpstrj", "water.dump", "t.lammpstrj.gz"])
def test_lammps_dump(frames, tmp_path, columns, name):
    path = write_dump(tmp_path / "plain", frames, columns)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    else:
        path.rename(tmp_path / name)
    elements = None if "element" in columns else ("O", "H")
    universe = load_trajectory(tmp_path / name, timestep_fs=0.5, elements=elements)
    same(universe, frames)
    assert universe.trajectory.dt == pytest.approx(0.005)
    thinned = load_trajectory(tmp_path / name, timestep_fs=0.5, elements=elements, step=3)
    assert thinned.trajectory.dt == pytest.approx(0.015)


def test_all_doors_give_the_same_observables(frames, tmp_path):
    ase.io.write(tmp_path / "t.traj", frames)
    write_dump(tmp_path / "t.dump", frames)
    universes = [
        load_trajectory(frames, frame_interval_fs=5.0),
        load_trajectory(tmp_path / "t.traj", frame_interval_fs=5.0),
        load_trajectory(tmp_path / "t.dump", timestep_fs=0.5, elements=("O", "H")),
    ]
    for observe in (density, lambda u: rdf(u, "O", "H", n_bins=10), diffusion):
        values = [(r.value, r.error) for r in map(observe, universes)]
        np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-3, atol=1e-6)


def test_any_orientation_of_the_cell(frames):
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turned = [
        ase.Atoms(a.symbols, positions=a.positions @ turn, cell=a.cell.array @ turn, pbc=True)
        for a in frames
    ]
    same(load_trajectory(turned), frames)


def test_other_formats_through_a_topology(frames, tmp_path):
    import MDAnalysis

    universe = load_trajectory(frames[:8])
    universe.add_TopologyAttr("resnames", ["WAT"])
    with MDAnalysis.Writer(str(tmp_path / "t.xtc"), 9) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    ase.io.write(tmp_path / "t.pdb", frames[0])
    loaded = load_trajectory(tmp_path / "t.xtc", tmp_path / "t.pdb", frame_interval_fs=5.0)
    same(loaded, frames[:8], atol=0.02)
    assert loaded.trajectory.dt == pytest.approx(0.005)
    with pytest.raises(DataError, match="give topology="):
        load_trajectory(tmp_path / "t.xtc")
    (tmp_path / "bad.pdb").write_text("hello\n")
    with pytest.raises(DataError, match="MDAnalysis cannot read") as caught:
        load_trajectory(tmp_path / "t.xtc", tmp_path / "bad.pdb")
    assert one_line(caught)


def test_time_is_nan_where_it_is_not_known(frames, tmp_path):
    assert np.isnan(load_trajectory(frames).trajectory.dt)
    path = write_dump(tmp_path / "t.dump", frames)
    assert np.isnan(load_trajectory(path, elements=("O", "H")).trajectory.dt)
    text = path.read_text().replace("ITEM: TIMESTEP\n590\n", "ITEM: TIMESTEP\n593\n")
    path.write_text(text)
    uneven = load_trajectory(path, elements=("O", "H"), timestep_fs=0.5)
    assert np.isnan(uneven.trajectory.dt)
    with pytest.raises(DataError, match="not known or not even"):
        diffusion(uneven)


def test_truncated_dump_loses_the_last_frame_only(frames, tmp_path):
    path = write_dump(tmp_path / "t.dump", frames)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-4]))
    same(load_trajectory(path, elements=("O", "H")), frames[:-1])


def test_restart_that_repeats_a_step(frames, tmp_path):
    path = write_dump(tmp_path / "t.dump", frames)
    block = path.read_text().split("ITEM: TIMESTEP\n")[1:]
    repeated = [*block[:30], block[29], *block[30:]]
    path.write_text("".join("ITEM: TIMESTEP\n" + b for b in repeated))
    same(load_trajectory(path, elements=("O", "H"), timestep_fs=1.0), frames)
    path.write_text("".join("ITEM: TIMESTEP\n" + b for b in [*block, *block]))
    with pytest.raises(DataError, match="goes back to 0"):
        load_trajectory(path, elements=("O", "H"))


def one_line(caught):
    return "\n" not in str(caught.value)


def test_errors_of_files(frames, tmp_path):
    cases = {
        "missing.traj": (None, "does not exist"),
        "empty.extxyz": ("", "is empty"),
        "broken.extxyz": ("3\nProperties=species:S:1:pos:R:3\nO 0 0 0\n", "cannot be read"),
        "words.xyz": ("hello\n", "cannot be read"),
        "noise.traj": ("hello\n", "cannot be read"),
        "header.dump": ("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n", "ends within the header"),
    }
    for name, (text, message) in cases.items():
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            load_trajectory(tmp_path / name)
        assert one_line(caught)
    (tmp_path / "t.extxyz.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read"):
        load_trajectory(tmp_path / "t.extxyz.gz")
    (tmp_path / "t.xtc").write_bytes(b"1")
    with pytest.raises(DataError, match=r"topology .* does not exist"):
        load_trajectory(tmp_path / "t.xtc", tmp_path / "nothing.pdb")


def test_errors_of_frames(frames):
    with pytest.raises(DataError, match="has no frames"):
        load_trajectory([])
    with pytest.raises(DataError, match="frame 1 has other atoms"):
        load_trajectory([frames[0], ase.Atoms("H9")])
    with pytest.raises(DataError, match="frame 1 has other atoms"):
        load_trajectory([frames[0], frames[0][:3]])
    frames[2].positions[4, 1] = np.nan
    with pytest.raises(DataError, match="atom 4 of stored frame 2"):
        load_trajectory(frames)


def test_errors_of_dumps(frames, tmp_path):
    path = tmp_path / "t.dump"
    write_dump(path, frames[:3])
    with pytest.raises(DataError, match='no column "element"'):
        load_trajectory(path)
    with pytest.raises(ConfigError, match="names only 1"):
        load_trajectory(path, elements=["O"])
    with pytest.raises(ConfigError, match='"Oo" is not an element'):
        load_trajectory(path, elements=["Oo", "H"])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:12], "1 1 what 0 0\n", *lines[13:]]))
    with pytest.raises(DataError, match="cannot be read as a LAMMPS dump") as caught:
        load_trajectory(path, elements=("O", "H"))
    assert one_line(caught)
    write_dump(path, frames[:3], "type x y z")
    with pytest.raises(DataError, match='no column "id"'):
        load_trajectory(path, elements=("O", "H"))
    write_dump(path, frames[:3], "id element x y z")
    with pytest.raises(DataError, match='no column "type"'):
        load_trajectory(path, elements=("O", "H"))
    write_dump(path, frames[:3], "id type")
    with pytest.raises(DataError, match="cannot be read"):
        load_trajectory(path, elements=("O", "H"))
    write_dump(path, frames[:3], pbc="pp pp ff")
    with pytest.raises(DataError, match="not periodic in all directions"):
        load_trajectory(path, elements=("O", "H"))


def test_errors_of_options(frames, tmp_path):
    path = write_dump(tmp_path / "t.dump", frames[:3])
    ase.io.write(tmp_path / "t.traj", frames[:3])
    with pytest.raises(ConfigError, match="give timestep_fs"):
        load_trajectory(path, frame_interval_fs=1.0, elements=("O", "H"))
    with pytest.raises(ConfigError, match="give frame_interval_fs"):
        load_trajectory(tmp_path / "t.traj", timestep_fs=1.0)
    with pytest.raises(ConfigError, match="give frame_interval_fs"):
        load_trajectory(frames, timestep_fs=1.0)
    with pytest.raises(ConfigError, match="elements is for LAMMPS dumps"):
        load_trajectory(tmp_path / "t.traj", elements=["O", "H"])
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ConfigError, match="must be a positive number"):
            load_trajectory(frames, frame_interval_fs=wrong)
    with pytest.raises(ConfigError, match="step must be"):
        load_trajectory(frames, step=0)
