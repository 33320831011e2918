"""Configuration of ``tpainn-train classical``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tpainn_calc.base.schema import NonNegative, Positive, Section, Seed
from training.labels.engines.config import EngineConfig, engine_of_name

PositiveInt = Annotated[int, Field(ge=1)]


def _named(value: Any) -> Any:
    return None if value == "model" else engine_of_name(value)


class SourceSection(Section):
    """Settings of all sources.

    Attributes
    ----------
    labels : EngineConfig, optional
        Label the sampled frames by this engine, as in ``tpainn-train label``; without it (or with
        ``model``) by the force field that samples them. A name stands for an engine with its
        defaults: ``tblite``, ``iamoeba``.
    """

    labels: Annotated[EngineConfig | None, BeforeValidator(_named)] = None

    @property
    def files(self) -> list[str]:
        """Files that it reads."""
        return []


class WaterSection(SourceSection):
    """Liquid water; see :class:`training.classical.water.WaterSource`.

    ``ensemble: npt`` needs `pressures` (bar); `densities` are then where the runs start.

    Attributes
    ----------
    distorted : float
        Part of the molecules, 0 to 1, that are deformed and moved in every frame: a potential
        that has never seen a bond break, or atoms collide, may find that cheap.
    """

    kind: Literal["water"]
    model: Literal["q-spcfw", "spcfw"] = "q-spcfw"
    n_molecules: list[Annotated[int, Field(ge=8)]] = Field([64], min_length=1)
    temperatures: list[Positive] = Field([300.0], min_length=1)
    densities: list[Positive] = Field([1.0], min_length=1)
    pressures: list[float] = Field(default_factory=list)
    frames: PositiveInt = 20
    spacing: Positive = 0.2
    equilibration: NonNegative = 2.0
    timestep: Annotated[float, Field(gt=0, le=1.0)] = 0.5
    stress: bool = True
    distorted: Annotated[float, Field(ge=0, le=1)] = 0.0


class MoleculesSection(SourceSection):
    """Molecules in vacuum; see :class:`training.classical.molecules.MoleculeSource`.

    Attributes
    ----------
    molecules : str
        Text file with one SMILES per line (``.smi``, ``.txt``), extended XYZ, or QM9 ``.npz``.
    first, count, every : int
        Which molecules of the file: from the first on, within so many, every n-th.
    exclude : str, optional
        Text file with one molecule (SMILES or QM9 id) per line that must not be touched, such
        as the test set.
    fallback : bool
        UFF where MMFF94 has no parameters; otherwise such molecules are rejected.
    frames : int
        Off-equilibrium geometries per molecule.
    sampling : {"langevin", "displacement"}
        Dynamics at `temperature`, or random displacements of `displacement` Å.
    """

    kind: Literal["molecules"]
    molecules: str
    first: Annotated[int, Field(ge=0)] = 0
    count: PositiveInt | None = None
    every: PositiveInt = 1
    exclude: str | None = None
    frames: PositiveInt = 3
    sampling: Literal["langevin", "displacement"] = "langevin"
    temperature: Positive = 500.0
    spacing: Positive = 0.1
    timestep: Annotated[float, Field(gt=0, le=1.0)] = 0.5
    displacement: Positive = 0.05
    molecules_per_shard: PositiveInt = 200
    fallback: bool = True

    @property
    def files(self) -> list[str]:
        """Files that it reads."""
        return [self.molecules, *([self.exclude] if self.exclude else [])]


class CalculatorSection(SourceSection):
    """Any ASE calculator; see :class:`training.classical.calculator.CalculatorSource`.

    Attributes
    ----------
    calculator : str
        Where the class or factory is, such as ``ase.calculators.emt.EMT``.
    arguments : dict
        Its keyword arguments.
    structures : str
        File that ASE reads.
    level : str
        Name of the level of theory.
    frames : int
        Geometries per structure.
    sampling : {"none", "displacement", "langevin"}
        ``none`` labels the structures as they are.
    """

    kind: Literal["calculator"]
    calculator: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    structures: str
    level: str = Field(min_length=1)
    frames: PositiveInt = 1
    sampling: Literal["none", "displacement", "langevin"] = "none"
    temperature: Positive = 500.0
    spacing: Positive = 0.1
    timestep: Positive = 0.5
    displacement: Positive = 0.05
    structures_per_shard: PositiveInt = 50

    @property
    def files(self) -> list[str]:
        """Files that it reads."""
        return [self.structures]


class LammpsSection(SourceSection):
    """A LAMMPS input; see :class:`training.classical.lammps_input.LammpsSource`.

    Attributes
    ----------
    input : str
        Sets up units, styles, atoms and coefficients; no thermostat, no constraints.
    level : str
        Name of the level of theory.
    data : list of str
        Files that the input reads by ``read_data ${data}``, one after another.
    elements : list of str
        One per atom type; without it, the masses tell.
    command : str, optional
        How to start LAMMPS, such as ``mpiexec -n 4 /opt/lammps/bin/lmp``.
    sampling : {"langevin", "none"}
        ``none`` labels the atoms of the data files as they are.
    frames : int
        For every data file and temperature.
    """

    kind: Literal["lammps"]
    input: str
    level: str = Field(min_length=1)
    data: list[str] = Field(default_factory=list)
    elements: list[str] = Field(default_factory=list)
    command: str | None = None
    sampling: Literal["langevin", "none"] = "langevin"
    temperatures: list[Positive] = Field([300.0], min_length=1)
    frames: PositiveInt = 20
    spacing: Positive = 0.2
    equilibration: NonNegative = 2.0
    timestep: Positive = 0.5

    @property
    def files(self) -> list[str]:
        """Files that it reads."""
        return [self.input, *self.data]


AnySource = WaterSection | MoleculesSection | CalculatorSection | LammpsSection


class SampledFrames(Section):
    """A source of classical frames, and bounds on those that are kept.

    Attributes
    ----------
    workers : int
        Processes; shards (state points, groups of molecules) are shared among them.
    time_limit : float, optional
        A label of an engine under ``source: labels`` fails after so many seconds.
    max_force, min_distance : float
        Frames beyond these are rejected, counted and listed: eV/Å, Å.
    """

    workers: PositiveInt = 1
    time_limit: Positive | None = None
    max_force: Positive = 50.0
    min_distance: Positive = 0.5
    source: Annotated[AnySource, Field(discriminator="kind")]


class ClassicalConfig(SampledFrames):
    """A set of classical frames in a folder.

    Attributes
    ----------
    output : str
        Folder of the frames: a store of HDF5 shards, or of extended-XYZ files.
    format : {"hdf5", "extxyz"}
    seed : int
    """

    output: str
    format: Literal["hdf5", "extxyz"] = "hdf5"
    seed: Seed = 0
