"""Force fields as engines: water by OpenMM, molecules by RDKit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError, one_line
from tpainn_calc.base.frames import attach_results
from training.forcefields.installed import need
from training.forcefields.molecules import MoleculeField, bonded
from training.forcefields.water import IAmoeba, label_water
from training.forcefields.water_model import WATER_MODELS
from training.labels.engines.attempts import bare
from training.labels.engines.config import MMFF94Config, WaterModelConfig
from training.labels.engines.contract import Label, LabelFailed


class WaterModelEngine:
    """Flexible water; atoms are ordered O, H, H.

    Parameters
    ----------
    config : WaterModelConfig
    """

    def __init__(self, config: WaterModelConfig) -> None:
        need("openmm", "engine water-model")
        self.config = config

    @property
    def level(self) -> str:
        """Name of the model."""
        model = self.config.model
        return IAmoeba.level if model == "iamoeba" else WATER_MODELS[model].name

    def describe(self) -> dict[str, Any]:
        """Version and settings."""
        import openmm

        return {"engine": f"OpenMM {openmm.version.version}", **self.config.model_dump()}

    def label(self, atoms: Atoms) -> Label:
        """Label a frame."""
        began = time.monotonic()
        try:
            done = label_water(atoms, self.config.model, self.config.stress)
        except DataError as error:
            raise LabelFailed(one_line(error)) from error
        # label_water makes molecules whole; the frame stays as it is
        labelled = attach_results(bare(atoms), **done.calc.results)
        return Label(labelled, self.level, True, time.monotonic() - began)

    def close(self) -> None:
        """Nothing is kept running."""


class MMFF94Engine:
    """Molecules in vacuum.

    Parameters
    ----------
    config : MMFF94Config
    """

    level = "MMFF94"

    def __init__(self, config: MMFF94Config) -> None:
        need("rdkit", "engine mmff94")

    def describe(self) -> dict[str, Any]:
        """Version."""
        from rdkit import rdBase

        return {"engine": f"RDKit {rdBase.rdkitVersion}", "kind": "mmff94"}

    def label(self, atoms: Atoms) -> Label:
        """Label a molecule."""
        if atoms.pbc.any():
            raise LabelFailed("periodic: mmff94 labels molecules")
        began = time.monotonic()
        from rdkit import rdBase

        try:
            with rdBase.BlockLogs():
                field = MoleculeField(bonded(atoms), ["MMFF94"])
        except DataError as error:
            raise LabelFailed(one_line(error)) from error
        energy, forces = field.compute(np.asarray(atoms.positions))
        done = attach_results(bare(atoms), energy, forces)
        return Label(done, self.level, True, time.monotonic() - began)

    def close(self) -> None:
        """Nothing is kept running."""
