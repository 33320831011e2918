"""Label a frame with a setting, and what it costs."""

from __future__ import annotations

import resource
from pathlib import Path

from ase import Atoms

from tpainn_calc.base.records import write_record
from training.labels.engines.config import CP2KConfig
from training.labels.engines.contract import EngineCrashed, LabelFailed
from training.labels.engines.factory import make_engine


def measure(config: CP2KConfig, atoms: Atoms, path: Path) -> None:
    """Write energy (eV), forces (eV/Å), stress (eV/Å³), net force (eV/Å) and CPU time (s).

    CP2K starts and ends with the frame, so that the CPU time is that of one label with start. A
    setting that gives no label leaves the reason.
    """
    engine = make_engine(config)
    before = _seconds_of_children()
    record: dict[str, object] = {"level": engine.level}
    try:
        label = engine.label(atoms)
    except (LabelFailed, EngineCrashed) as error:
        record["error"] = str(error)
    else:
        results = label.atoms.calc.results
        record |= {
            "energy": float(results["energy"]),
            "forces": results["forces"].tolist(),
            "stress": results["stress"].tolist(),
            **label.notes,
        }
    finally:
        engine.close()
    record["cpu_seconds"] = _seconds_of_children() - before
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, record)


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
