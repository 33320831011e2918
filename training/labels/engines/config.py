"""Configuration of a labelling engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from tpainn_calc.base.errors import ConfigError, did_you_mean
from tpainn_calc.base.schema import NonNegative, Positive, Section, load_config

PositiveInt = Annotated[int, Field(ge=1)]


class TBLiteConfig(Section):
    """Semi-empirical tight binding, for molecules and periodic systems.

    Attributes
    ----------
    method : {"GFN2-xTB", "GFN1-xTB"}
    accuracy : float
        Numerical accuracy of tblite; smaller is tighter.
    electronic_temperature : float
        Of the Fermi distribution, K. Part of the level of theory.
    charge : int
    max_iterations : int
        SCF steps of the first attempt.
    """

    kind: Literal["tblite"]
    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    accuracy: Positive = 1.0
    electronic_temperature: Positive = 300.0
    charge: int = 0
    max_iterations: PositiveInt = 250


class CalculatorConfig(Section):
    """Any ASE calculator.

    Attributes
    ----------
    calculator : str
        Where its class or factory is, such as ``ase.calculators.vasp.Vasp``.
    arguments : dict
        Its keyword arguments.
    level : str
        Name of the level of theory.
    stress : bool
        Ask for the stress of periodic frames; a calculator without one is then an error.
    fallback : list of dict
        Changes to `arguments`, tried in this order where the calculation fails.
    """

    kind: Literal["ase"]
    calculator: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    level: str = Field(min_length=1)
    stress: bool = True
    fallback: list[dict[str, Any]] = Field(default_factory=list)


class CP2KConfig(Section):
    """Density functional theory of liquids by CP2K (GPW).

    Attributes
    ----------
    functional : {"revPBE-D3", "BLYP-D3", "PBE-D3", "revPBE", "SCAN"}
    basis : str or dict element -> str
        Name in `basis_file`, without the element, such as ``TZV2P-GTH``; or a name for each
        element, where they differ: ``{H: ccGRB-Q-q1, O: ccGRB-Q-q6}``.
    basis_file : str
        Of CP2K's folder of data: ``GTH_BASIS_SETS``, ``BASIS_MOLOPT``, ``BASIS_ccGRB_UZH``, ...
    pseudopotential : str, optional
        Name in `potential_file`; by default that of the functional, ``GTH-PBE`` or ``GTH-BLYP``.
    potential_file : str
    cutoff, relative_cutoff : float
        Of the plane waves, Ry. The grid is the floor of the noise of the labels.
    eps_scf, eps_default : float
        Convergence of the density, and CP2K's numerical accuracy.
    scf : {"diagonalization", "ot"}
        Diagonalisation with Broyden mixing, or orbital transformation; the other is the fallback.
    max_scf : int
    charge : int
    stress : bool
    remove_net_force : bool
        Subtract the mean force, which the grid makes; it is reported before.
    command : str
        Starts ``cp2k_shell``; ``mpirun.openmpi -np 2 --bind-to none cp2k_shell.psmp`` for two
        ranks.
    data : str, optional
        CP2K's folder of basis sets; otherwise $CP2K_DATA_DIR or CP2K's own.
    """

    kind: Literal["cp2k"]
    functional: Literal["revPBE-D3", "BLYP-D3", "PBE-D3", "revPBE", "SCAN"] = "revPBE-D3"
    basis: str | dict[str, str] = "TZV2P-GTH"
    basis_file: str = "GTH_BASIS_SETS"
    pseudopotential: str | None = None
    potential_file: str = "GTH_POTENTIALS"
    cutoff: Positive = 800.0
    relative_cutoff: Positive = 60.0
    eps_scf: Positive = 1e-6
    eps_default: Positive = 1e-10
    scf: Literal["diagonalization", "ot"] = "diagonalization"
    max_scf: PositiveInt = 60
    charge: int = 0
    stress: bool = True
    remove_net_force: bool = True
    command: str = "cp2k_shell.psmp"
    data: str | None = None


class CP2KNNPConfig(Section):
    """CP2K's committee of networks for liquid water: not DFT, and called so.

    Attributes
    ----------
    stress : bool
    command, data
        As for :class:`CP2KConfig`.
    """

    kind: Literal["cp2k-nnp"]
    stress: bool = True
    command: str = "cp2k_shell.psmp"
    data: str | None = None


class PySCFConfig(Section):
    """Density functional theory of molecules by PySCF.

    Attributes
    ----------
    functional : str
        As PySCF names it; ``b3lyp`` is Gaussian's.
    basis : str
        ``qm9`` is 6-31G(2df,p) as Gaussian has it (see docs/labels.md); otherwise a PySCF name.
    density_fitting : bool
    grid : int
        PySCF's level of the integration grid.
    conv_tol : float
        Of the energy, Hartree.
    charge : int
    max_cycle : int
        SCF steps before the fallback, second-order SCF.
    """

    kind: Literal["pyscf"]
    functional: str = "b3lyp"
    basis: str = "qm9"
    density_fitting: bool = False
    grid: Annotated[int, Field(ge=0, le=9)] = 3
    conv_tol: Positive = 1e-9
    charge: int = 0
    max_cycle: PositiveInt = 50
    max_memory: NonNegative = 2000.0


class WaterModelConfig(Section):
    """A flexible force field of water, by OpenMM.

    Attributes
    ----------
    model : {"q-spcfw", "spcfw", "iamoeba"}
    stress : bool
        Of periodic frames: 12 more energies each.
    """

    kind: Literal["water-model"]
    model: Literal["q-spcfw", "spcfw", "iamoeba"] = "q-spcfw"
    stress: bool = True


class MMFF94Config(Section):
    """MMFF94 of molecules, by RDKit; bonds are perceived from the geometry."""

    kind: Literal["mmff94"]


AnyEngine = (
    CP2KConfig
    | CP2KNNPConfig
    | PySCFConfig
    | TBLiteConfig
    | WaterModelConfig
    | MMFF94Config
    | CalculatorConfig
)

#: What a configuration file of a loop holds under ``engine``.
EngineConfig = Annotated[AnyEngine, Field(discriminator="kind")]


class LabelConfig(Section):
    """A file for ``tpainn-train label --engine FILE.yaml``."""

    engine: EngineConfig


#: Engines that need nothing but their name.
BY_NAME: dict[str, type[Section]] = {
    "cp2k": CP2KConfig,
    "cp2k-nnp": CP2KNNPConfig,
    "pyscf": PySCFConfig,
    "tblite": TBLiteConfig,
    "water-model": WaterModelConfig,
    "mmff94": MMFF94Config,
}


def engine_of_name(value: Any) -> Any:
    """Settings that a name of an engine, or of a water model, stands for."""
    if not isinstance(value, str):
        return value
    if value in get_args(WaterModelConfig.model_fields["model"].annotation):
        return {"kind": "water-model", "model": value}
    return {"kind": value}


def load_engine(name: str) -> AnyEngine:
    """Engine of a name, with its defaults, or of a YAML file with a section ``engine``.

    Raises
    ------
    ConfigError
        Unknown name, missing file, unknown key.
    """
    if name in BY_NAME:
        engine: AnyEngine = LabelConfig.model_validate({"engine": {"kind": name}}).engine
        return engine
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return load_config(name, LabelConfig).engine
    known: Sequence[str] = list(BY_NAME)
    hint = did_you_mean(name, known)
    raise ConfigError(f"--engine {name!r}: not one of {', '.join(known)}, nor a .yaml file{hint}")
