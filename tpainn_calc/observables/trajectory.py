"""Read a trajectory of ASE or LAMMPS into an in-memory MDAnalysis Universe.

Lengths are Å and times ps, as MDAnalysis has them. The time between frames is NaN where it is not
known, so that nothing that depends on time can be computed with a silent guess.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.data
import ase.io
import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import ArrayLike, NDArray

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import ConfigError, DataError, StructureError, did_you_mean
from tpainn_calc.neighbors import check_cell

if TYPE_CHECKING:
    import ase
    import MDAnalysis

__all__ = ["load_trajectory"]

_ASE_SUFFIXES = {".traj", ".xyz", ".extxyz"}


def load_trajectory(
    path: str | Path | Iterable[ase.Atoms],
    topology: str | Path | None = None,
    *,
    frame_interval_fs: float | None = None,
    timestep_fs: float | None = None,
    elements: Sequence[str] | None = None,
    step: int = 1,
) -> MDAnalysis.Universe:
    """Read a trajectory into memory as an MDAnalysis Universe.

    Parameters
    ----------
    path : path or iterable of ase.Atoms
        An ASE ``.traj``, (extended) ``.xyz``, a LAMMPS text dump (any name; recognised by its
        first line), each also gzipped; any other format that MDAnalysis reads with a `topology`;
        or the structures themselves.
    topology : path, optional
        File with names and masses, for formats that hold coordinates only (``.dcd``, ``.xtc``).
    frame_interval_fs : float, optional
        Time between stored frames in fs, for everything but LAMMPS dumps: ASE trajectories and
        extended XYZ do not record it, and LAMMPS writes it to binary formats in its own units.
    timestep_fs : float, optional
        Time step of the dynamics in fs, for LAMMPS dumps, which count steps.
    elements : sequence of str, optional
        Element of each LAMMPS atom type, in the order of ``pair_coeff``; not needed if the dump
        has a column ``element``.
    step : int
        Keep every `step`-th frame.

    Returns
    -------
    MDAnalysis.Universe
        With names, elements, types and masses (u). ``trajectory.dt`` is the time between frames
        in ps, NaN if unknown. Cells are rotated to MDAnalysis' frame (a along x); frames without
        three periodic directions have no dimensions.

    Raises
    ------
    ConfigError
        Options that contradict each other or the format, or an unknown element.
    DataError
        The file is missing, empty, not readable, or frames differ in their atoms.
    """
    if step < 1:
        raise ConfigError(f"step must be at least 1, got {step}")
    for name, value in (("frame_interval_fs", frame_interval_fs), ("timestep_fs", timestep_fs)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be a positive number of fs, got {value}")
    if not isinstance(path, str | Path):
        _refuse(timestep_fs, "timestep_fs", "give frame_interval_fs for a list of structures")
        return _from_atoms(list(path)[::step], "list of structures", frame_interval_fs, step)

    file = Path(path)
    if not file.is_file():
        raise DataError(f'trajectory "{file}" does not exist')
    if file.stat().st_size == 0:
        raise DataError(f'trajectory "{file}" is empty')
    if topology is not None and not Path(topology).is_file():
        raise DataError(f'topology "{topology}" does not exist')
    if _first_line(file).startswith("ITEM:"):
        _refuse(frame_interval_fs, "frame_interval_fs", "give timestep_fs for a LAMMPS dump")
        return _from_dump(file, timestep_fs, elements, step)
    if elements is not None:
        raise ConfigError(f'elements is for LAMMPS dumps, which "{file}" is not')
    _refuse(timestep_fs, "timestep_fs", "it is for LAMMPS dumps; give frame_interval_fs")
    if Path(file.stem if file.suffix == ".gz" else file).suffix in _ASE_SUFFIXES:
        return _from_atoms(_read_ase(file)[::step], str(file), frame_interval_fs, step)
    if topology is None:
        raise DataError(
            f'"{file}" is no ASE trajectory, extended XYZ or LAMMPS dump: '
            "give topology= so that MDAnalysis can read it"
        )
    return _from_mdanalysis(file, Path(topology), frame_interval_fs, step)


@contextmanager
def reading_errors() -> Iterator[None]:
    """Turn what a reader of MDAnalysis stumbles over into a DataError."""
    try:
        yield
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"MDAnalysis cannot read the trajectory: {error}") from error


def frame_range(universe: MDAnalysis.Universe, start: int, stop: int | None, step: int) -> range:
    if step < 1:
        raise ConfigError(f"step must be at least 1, got {step}")
    n_frames = len(universe.trajectory)
    frames = range(n_frames)[slice(start, stop, step)]
    if len(frames) == 0:
        raise DataError(f"no frames from {start} to {stop}: the trajectory has {n_frames}")
    return frames


def select_element(universe: MDAnalysis.Universe, element: str) -> MDAnalysis.AtomGroup:
    if not hasattr(universe.atoms, "elements"):
        raise DataError("the trajectory does not say which elements its atoms are")
    elements = universe.atoms.elements
    present = sorted(set(map(str, elements)))
    if element not in present:
        raise DataError(
            f'no atoms of element "{element}": there are {", ".join(present)}'
            f"{did_you_mean(element, present)}"
        )
    return universe.atoms[elements == element]


def cell_vectors(universe: MDAnalysis.Universe, frames: range) -> Array:
    """Cell vectors (T, 3, 3) as rows in Å."""
    cells = np.empty((len(frames), 3, 3))
    with reading_errors():
        for k, ts in enumerate(universe.trajectory[as_slice(frames)]):
            cell = ts.triclinic_dimensions
            if cell is None or not abs(np.linalg.det(cell)) > 0:
                raise DataError(
                    f"frame {frames[k]} has no cell that is periodic in three directions"
                )
            cells[k] = cell
    return cells


def structures(universe: MDAnalysis.Universe, frames: Iterable[int]) -> list[ase.Atoms]:
    """Frames of a trajectory as structures.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        With elements.
    frames : iterable of int
        Their numbers.

    Returns
    -------
    list of ase.Atoms
        Periodic in three directions where the frame has a cell.
    """
    symbols = list(universe.atoms.elements)
    found = []
    for number in frames:
        step = universe.trajectory[int(number)]
        periodic = step.dimensions is not None
        cell = step.triclinic_dimensions.astype(float) if periodic else None
        found.append(ase.Atoms(symbols, step.positions.astype(float), cell=cell, pbc=periodic))
    return found


def spread(first: int, stop: int, count: int) -> Array:
    """Numbers of `count` frames, in the middle of equal parts of those from `first` to `stop`."""
    return first + ((np.arange(count) + 0.5) * (stop - first) / count).astype(int)


def as_slice(frames: range) -> slice:
    return slice(frames.start, frames.stop, frames.step)


def _refuse(value: object, name: str, cure: str) -> None:
    if value is not None:
        raise ConfigError(f"{name} does not apply here: {cure}")


def _first_line(file: Path) -> str:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        try:
            return stream.readline(200).decode("ascii", errors="replace")
        except (OSError, EOFError) as error:
            raise DataError(f'"{file}" cannot be read: {error}') from error


def _read_ase(file: Path) -> list[ase.Atoms]:
    try:
        if file.suffix == ".gz":
            # ASE reads a gzipped path several times slower than the same text.
            text = io.StringIO(gzip.decompress(file.read_bytes()).decode())
            return list(ase.io.iread(text, ":", format="extxyz"))
        known = None if file.suffix == ".traj" else "extxyz"
        return list(ase.io.iread(file, ":", format=known))
    except Exception as error:  # ASE's readers raise whatever the text makes them stumble over
        raise DataError(f'"{file}" cannot be read as a trajectory: {error}') from error


def _from_atoms(
    frames: list[ase.Atoms], where: str, frame_interval_fs: float | None, step: int
) -> MDAnalysis.Universe:
    if not frames:
        raise DataError(f"{where} has no frames")
    first = frames[0]
    positions = np.empty((len(frames), len(first), 3))
    dimensions = np.zeros((len(frames), 6))
    for k, atoms in enumerate(frames):
        if not np.array_equal(atoms.numbers, first.numbers):
            raise DataError(
                f"{where}: frame {k * step} has other atoms than frame 0; "
                "a trajectory keeps its atoms and their order"
            )
        positions[k] = atoms.positions
        if atoms.pbc.all() and atoms.cell.rank == 3:
            try:
                check_cell(atoms.cell.array, atoms.pbc)
            except StructureError as error:
                raise DataError(f"{where}: frame {k * step}: {error}") from None
            dimensions[k] = atoms.cell.cellpar()
            scaled = atoms.cell.scaled_positions(atoms.positions)
            positions[k] = scaled @ cellpar_to_cell(dimensions[k])
    interval = np.nan if frame_interval_fs is None else frame_interval_fs * step / 1000.0
    symbols = first.get_chemical_symbols()
    return _universe(symbols, first.get_masses(), positions, dimensions, interval, where)


def _from_dump(
    file: Path, timestep_fs: float | None, elements: Sequence[str] | None, step: int
) -> MDAnalysis.Universe:
    import MDAnalysis

    columns = _dump_columns(file)
    with warnings.catch_warnings():
        # The parser guesses masses, which are replaced below.
        warnings.simplefilter("ignore", UserWarning)
        try:
            source = MDAnalysis.Universe(
                str(file), format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=1.0
            )
            frames = [
                (ts.data["step"], ts.positions.copy(), ts.dimensions.copy())
                for ts in source.trajectory[::step]
            ]
        except (ValueError, IndexError, EOFError, KeyError, OSError) as error:
            raise DataError(f'"{file}" cannot be read as a LAMMPS dump: {error}') from error
    if not frames:
        raise DataError(f'"{file}" has no complete frame')
    # A run that continues from a restart file writes the step it starts from once more.
    frames = [f for k, f in enumerate(frames) if k == 0 or f[0] != frames[k - 1][0]]
    steps = np.array([f[0] for f in frames])
    if (np.diff(steps) < 0).any():
        back = int(steps[1:][np.diff(steps) < 0][0])
        raise DataError(
            f'"{file}": the step number goes back to {back}; several runs were written to one '
            "file, so cut it into one file per run"
        )
    even = len(set(np.diff(steps).tolist())) == 1
    interval = np.nan
    if timestep_fs is not None and even:
        interval = float(steps[1] - steps[0]) * timestep_fs / 1000.0
    return _universe(
        _dump_symbols(file, source, columns, elements),
        None,
        np.array([f[1] for f in frames]),
        np.array([f[2] for f in frames]),
        interval,
        str(file),
    )


def _dump_columns(file: Path) -> list[str]:
    """Names of the columns of a dump, from the header of its first frame."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as stream:
        for _, line in zip(range(9), stream, strict=False):
            if line.startswith("ITEM: BOX BOUNDS"):
                flags = [
                    word for word in line.split() if len(word) == 2 and set(word) <= set("pfsm")
                ]
                if flags and flags != ["pp"] * 3:
                    raise DataError(
                        f'"{file}" is not periodic in all directions (boundary {" ".join(flags)}): '
                        "a density or a radial distribution function has no meaning there"
                    )
            if line.startswith("ITEM: ATOMS"):
                columns = line.split()[2:]
                if "id" not in columns:
                    raise DataError(
                        f'"{file}" has no column "id", so atoms cannot be followed: '
                        "write it with dump custom ... id type x y z"
                    )
                return columns
    raise DataError(f'"{file}" ends within the header of its first frame')


def _dump_symbols(
    file: Path,
    source: MDAnalysis.Universe,
    columns: list[str],
    elements: Sequence[str] | None,
) -> list[str]:
    if elements is None:
        if "element" not in columns:
            raise DataError(
                f'"{file}" has no column "element": give elements=, one name for each atom type, '
                "or write it with dump_modify ... element"
            )
        return [str(name) for name in source.atoms.elements]
    if "type" not in columns:
        raise DataError(f'"{file}" has no column "type" for elements= to refer to')
    types = source.atoms.types.astype(int)
    if types.max() > len(elements):
        raise ConfigError(
            f'"{file}" has atom type {types.max()} but elements= names only {len(elements)}'
        )
    return [elements[t - 1] for t in types]


def _from_mdanalysis(
    file: Path, topology: Path, frame_interval_fs: float | None, step: int
) -> MDAnalysis.Universe:
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = MDAnalysis.Universe(str(topology), str(file), to_guess=("elements", "masses"))
            frames = [
                (
                    ts.positions.copy(),
                    np.zeros(6) if ts.dimensions is None else ts.dimensions.copy(),
                )
                for ts in source.trajectory[::step]
            ]
            symbols = [str(name).capitalize() for name in source.atoms.elements]
        except Exception as error:  # dozens of formats, each with exceptions of its own
            raise DataError(
                f'MDAnalysis cannot read "{file}" with topology "{topology}": {error}'
            ) from error
    if not frames:
        raise DataError(f'"{file}" has no frames')
    # Times of such files are not trusted: LAMMPS writes DCD in its own units, and MDAnalysis
    # answers 1 ps for formats without any.
    interval = np.nan if frame_interval_fs is None else frame_interval_fs * step / 1000.0
    return _universe(
        symbols,
        source.atoms.masses,
        np.array([f[0] for f in frames]),
        np.array([f[1] for f in frames]),
        interval,
        str(file),
    )


def _universe(
    symbols: list[str],
    masses: ArrayLike | None,
    positions: NDArray[Any],
    dimensions: NDArray[Any],
    interval_ps: float,
    where: str,
) -> MDAnalysis.Universe:
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    for symbol in set(symbols):
        if symbol not in ase.data.atomic_numbers:
            hint = did_you_mean(symbol, ase.data.chemical_symbols)
            raise ConfigError(f'{where}: "{symbol}" is not an element{hint}')
    if not np.isfinite(positions).all():
        frame, atom, _ = (int(k) for k in np.argwhere(~np.isfinite(positions))[0])
        raise DataError(
            f"{where}: atom {atom} of stored frame {frame} has a position that is not finite"
        )
    if not np.isfinite(dimensions).all():
        frame = int(np.argwhere(~np.isfinite(dimensions))[0][0])
        raise DataError(f"{where}: the cell of stored frame {frame} is not finite")
    if masses is None:
        masses = [ase.data.atomic_masses[ase.data.atomic_numbers[s]] for s in symbols]
    universe = MDAnalysis.Universe.empty(len(symbols), atom_resindex=np.zeros(len(symbols), int))
    for attribute in ("names", "elements", "types"):
        universe.add_TopologyAttr(attribute, symbols)
    universe.add_TopologyAttr("masses", np.asarray(masses, dtype=np.float64))
    universe.load_new(
        np.ascontiguousarray(positions, dtype=np.float32),
        format=MemoryReader,
        dimensions=np.asarray(dimensions, dtype=np.float32),
        dt=interval_ps,
    )
    return universe
