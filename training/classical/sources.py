"""The source that a configuration describes, and the level of its labels."""

from __future__ import annotations

from pathlib import Path

from training.classical.config import (
    AnySource,
    CalculatorSection,
    LammpsSection,
    MoleculesSection,
    WaterSection,
)
from training.classical.contract import Source
from training.forcefields.installed import need
from training.labels.engines.factory import make_engine


def level_of(section: AnySource, base: Path) -> str:
    """Level of theory of the labels: that of the source, or of the engine under ``labels``.

    Raises
    ------
    ConfigError
        If that engine is not installed.
    """
    if section.labels is None:
        return make_source(section, base).level
    engine = make_engine(section.labels)
    level = engine.level
    engine.close()
    return level


def make_source(s: AnySource, base: Path) -> Source:
    """Source that a section describes; relative paths refer to `base`."""
    if isinstance(s, WaterSection):
        need("openmm", "source water")
        from training.classical.water import WaterSource

        return WaterSource.from_section(s)
    if isinstance(s, MoleculesSection):
        need("rdkit", "source molecules")
        from training.classical.molecules import MoleculeSource

        return MoleculeSource.from_section(s, base)
    if isinstance(s, LammpsSection):
        from training.classical.lammps_input import LammpsSource

        return LammpsSource.from_section(s, base)
    assert isinstance(s, CalculatorSection)  # no other kind passes the schema
    from training.classical.calculator import CalculatorSource

    return CalculatorSource.from_section(s, base)
