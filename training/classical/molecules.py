"""Molecules in vacuum with MMFF94, or UFF where it has no parameters, by RDKit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import attach_results
from training.classical.config import MoleculesSection
from training.classical.contract import Rejected, Shard
from training.classical.dynamics import displaced, langevin
from training.data.paths import expand_path
from training.forcefields.molecules import FIELDS, MoleculeField, bonded

LEVEL = "MMFF94"


@dataclass(frozen=True)
class MoleculeSource:
    """Off-equilibrium geometries of molecules.

    The labels of a set are MMFF94 throughout; molecules without MMFF94 parameters are labelled
    with UFF only if `fallback` is set, and then the frames say so (``info["force_field"]``).

    Attributes
    ----------
    path : Path
        SMILES, one per line; extended XYZ; or QM9.
    first, count, every, exclude
        Which molecules, see :class:`training.classical.config.MoleculesSection`.
    frames_per_molecule : int
    sampling : {"langevin", "displacement"}
    temperature : float
        K.
    spacing : float
        ps.
    timestep : float
        fs.
    displacement : float
        Å.
    per_shard : int
        Molecules per shard.
    fallback : bool
        UFF where MMFF94 has no parameters.
    """

    path: Path
    first: int = 0
    count: int | None = None
    exclude: tuple[str, ...] = ()
    frames_per_molecule: int = 3
    sampling: Literal["langevin", "displacement"] = "langevin"
    temperature: float = 500.0
    spacing: float = 0.1
    timestep: float = 0.5
    displacement: float = 0.05
    per_shard: int = 200
    fallback: bool = True
    every: int = 1

    @classmethod
    def from_section(cls, s: MoleculesSection, base: Path) -> MoleculeSource:
        """Source that a configuration describes."""
        exclude: tuple[str, ...] = ()
        if s.exclude:
            listed = expand_path(s.exclude, base)
            if not listed.is_file():
                raise ConfigError(f"source.exclude: no file {listed}")
            lines = listed.read_text().splitlines()
            exclude = tuple(line.split()[0] for line in lines if line.strip())
        return cls(
            expand_path(s.molecules, base),
            s.first,
            s.count,
            exclude,
            s.frames,
            s.sampling,
            s.temperature,
            s.spacing,
            s.timestep,
            s.displacement,
            s.molecules_per_shard,
            s.fallback,
            s.every,
        )

    @property
    def level(self) -> str:
        """Level of theory."""
        return LEVEL

    def describe(self) -> dict[str, Any]:
        """Engine, force field, and how frames are drawn."""
        from rdkit import rdBase

        return {
            "engine": f"RDKit {rdBase.rdkitVersion}",
            "force_field": "MMFF94 (Halgren, J. Comput. Chem. 17, 490 (1996))",
            "fallback": "UFF (Rappé et al., JACS 114, 10024 (1992))" if self.fallback else "none",
            "conformers": "ETKDGv3 (Wang et al., J. Chem. Inf. Model. 60, 2044 (2020))",
        }

    def shards(self) -> Sequence[Shard]:
        """Groups of molecules."""
        names = self._names()
        banned = set(self.exclude)
        end = None if self.count is None else self.first + self.count
        chosen = [
            k for k in range(len(names))[self.first : end : self.every] if names[k] not in banned
        ]
        if not chosen:
            raise DataError(f"{self.path}: no molecule is left to sample")
        groups = [chosen[k : k + self.per_shard] for k in range(0, len(chosen), self.per_shard)]
        width = max(6, len(str(len(groups))))
        return [
            Shard(f"molecules-{k:0{width}d}", k, {"members": group})
            for k, group in enumerate(groups)
        ]

    def frames(self, shard: Shard, seed: int) -> Iterator[Atoms | Rejected]:
        """Geometries of the molecules of a group."""
        from rdkit import rdBase

        names = self._names()
        for member in shard.options["members"]:
            rng = np.random.default_rng((seed, member))
            try:
                with rdBase.BlockLogs():  # failures are reported as rejected frames
                    found = list(self._sample(member, names[member], rng))
            except (DataError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                yield Rejected(f"molecule {names[member]}: {reason}")
            else:
                yield from found

    def _sample(self, member: int, name: str, rng: np.random.Generator) -> Iterator[Atoms]:
        molecule = self._molecule(member, name, rng)
        field = MoleculeField(molecule, FIELDS if self.fallback else FIELDS[:1])
        positions = field.minimise()
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        start = Atoms(numbers, positions=positions)
        if self.sampling == "displacement":
            geometries = displaced(positions, self.displacement, self.frames_per_molecule, rng)
        else:
            geometries = langevin(
                field.compute,
                positions,
                start.get_masses(),
                temperature=self.temperature,
                timestep=self.timestep,
                spacing=self.spacing,
                n_frames=self.frames_per_molecule,
                rng=rng,
            )
        for geometry in geometries:
            atoms = attach_results(Atoms(numbers, positions=geometry), *field.compute(geometry))
            atoms.info.update(molecule=name, force_field=field.name)
            yield atoms

    def _names(self) -> list[str]:
        if self.path.suffix == ".npz":
            return [str(k) for k in _qm9(self.path).ids]
        if not self.path.is_file():
            raise DataError(f"no file of molecules {self.path}")
        if self.path.suffix in (".smi", ".txt"):
            lines = self.path.read_text().splitlines()
            return [line.split()[0] for line in lines if line.strip() and line[0] != "#"]
        return [f"{self.path.stem}-{k}" for k in range(len(_structures(self.path)))]

    def _molecule(self, member: int, name: str, rng: np.random.Generator) -> Any:
        from rdkit import Chem
        from rdkit.Chem import rdDistGeom

        if self.path.suffix not in (".smi", ".txt"):
            if self.path.suffix == ".npz":
                return bonded(_qm9(self.path)[member])
            return bonded(_structures(self.path)[member])
        molecule = Chem.MolFromSmiles(name)
        if molecule is None:
            raise DataError("not a valid SMILES")
        molecule = Chem.AddHs(molecule)
        parameters: Any = rdDistGeom.ETKDGv3()
        parameters.randomSeed = int(rng.integers(1, 2**31 - 1))
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            raise DataError("no conformer could be embedded")
        return molecule


_cache: dict[Path, Any] = {}


def _qm9(path: Path) -> Any:
    from training.data.qm9 import QM9Frames

    if path not in _cache:
        _cache[path] = QM9Frames(path)
    return _cache[path]


def _structures(path: Path) -> Any:
    import ase.io

    if path not in _cache:
        try:
            _cache[path] = ase.io.read(path, ":")
        except Exception as error:  # ASE raises what its parsers happen to meet
            raise DataError(f"{path} is not readable: {error}") from None
    return _cache[path]
