"""The engine that a configuration describes."""

from __future__ import annotations

from training.labels.engines.config import (
    AnyEngine,
    CalculatorConfig,
    CP2KConfig,
    CP2KNNPConfig,
    MMFF94Config,
    PySCFConfig,
    TBLiteConfig,
    WaterModelConfig,
)
from training.labels.engines.contract import Engine


def make_engine(config: AnyEngine) -> Engine:
    """Engine that a configuration describes.

    Raises
    ------
    ConfigError
        If the engine is not installed, with what installs it.
    """
    if isinstance(config, TBLiteConfig):
        from training.labels.engines.tblite import TBLiteEngine

        return TBLiteEngine(config)
    if isinstance(config, CalculatorConfig):
        from training.labels.engines.calculator import CalculatorEngine

        return CalculatorEngine(config)
    if isinstance(config, PySCFConfig):
        from training.labels.engines.pyscf import PySCFEngine

        return PySCFEngine(config)
    if isinstance(config, WaterModelConfig):
        from training.labels.engines.force_fields import WaterModelEngine

        return WaterModelEngine(config)
    if isinstance(config, MMFF94Config):
        from training.labels.engines.force_fields import MMFF94Engine

        return MMFF94Engine(config)
    if isinstance(config, CP2KNNPConfig):
        from training.labels.engines.cp2k import CP2KNNPEngine

        return CP2KNNPEngine(config)
    assert isinstance(config, CP2KConfig)  # no other kind passes the schema
    from training.labels.engines.cp2k import CP2KEngine

    return CP2KEngine(config)
