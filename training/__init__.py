"""Classical frames, labels, training, tuning and their studies, as functions and configurations.

Every command of ``tpainn-train`` is a configuration, read by
:func:`tpainn_calc.base.schema.load_config`, and a function that runs it: `generate` (classical
frames), `training.fit.fit` (scratch, pretrain, autotune), `evaluate`, `run_curve`,
`label_campaign`, `run_loop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpainn_calc.base.lazy import public_names

if TYPE_CHECKING:
    from training.classical.config import ClassicalConfig
    from training.classical.generate import generate
    from training.data.frames import read_frames
    from training.distill.config import DistillConfig
    from training.fit.config import AutotuneConfig, PretrainConfig, TrainingConfig
    from training.fit.evaluation import Evaluation, evaluate
    from training.labels.engines.config import LabelConfig
    from training.labels.labelling import label_campaign
    from training.loop.config import LoopConfig
    from training.loop.run import run_loop
    from training.study.config import CurveConfig
    from training.study.curve import run_curve
    from training.teachers.config import TeachersConfig

__all__ = [
    "AutotuneConfig",
    "ClassicalConfig",
    "CurveConfig",
    "DistillConfig",
    "Evaluation",
    "LabelConfig",
    "LoopConfig",
    "PretrainConfig",
    "TeachersConfig",
    "TrainingConfig",
    "evaluate",
    "generate",
    "label_campaign",
    "read_frames",
    "run_curve",
    "run_loop",
]

# where each name lives: torch and lightning are loaded with the first one that needs them
_HOME = {
    "AutotuneConfig": "fit.config",
    "ClassicalConfig": "classical.config",
    "CurveConfig": "study.config",
    "DistillConfig": "distill.config",
    "Evaluation": "fit.evaluation",
    "LabelConfig": "labels.engines.config",
    "LoopConfig": "loop.config",
    "PretrainConfig": "fit.config",
    "TeachersConfig": "teachers.config",
    "TrainingConfig": "fit.config",
    "evaluate": "fit.evaluation",
    "generate": "classical.generate",
    "label_campaign": "labels.labelling",
    "read_frames": "data.frames",
    "run_curve": "study.curve",
    "run_loop": "loop.run",
}

__getattr__, __dir__ = public_names(__name__, _HOME)
