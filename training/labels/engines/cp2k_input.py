"""Input sections of CP2K; ASE adds structure, cell, basis sets and cut-off."""

from __future__ import annotations

from training.labels.engines.config import CP2KConfig

#: Functional, and the name that CP2K's table of D3 parameters has for it.
FUNCTIONALS = {
    "revPBE-D3": ("&PBE\nPARAMETRIZATION REVPBE\n&END PBE", "revPBE"),
    "PBE-D3": ("&PBE\nPARAMETRIZATION ORIG\n&END PBE", "PBE"),
    "BLYP-D3": ("&BECKE88\n&END BECKE88\n&LYP\n&END LYP", "BLYP"),
    "revPBE": ("&PBE\nPARAMETRIZATION REVPBE\n&END PBE", None),
    "SCAN": ("&MGGA_X_SCAN\n&END MGGA_X_SCAN\n&MGGA_C_SCAN\n&END MGGA_C_SCAN", None),
}

#: Ways to self-consistency; the label does not depend on which succeeds.
SCF = {
    "diagonalization": """
MAX_SCF {steps}
&DIAGONALIZATION ON
&END DIAGONALIZATION
&MIXING
METHOD BROYDEN_MIXING
ALPHA 0.4
NBROYDEN 8
&END MIXING""",
    "ot": """
MAX_SCF 25
&OT ON
MINIMIZER CG
PRECONDITIONER FULL_ALL
ENERGY_GAP 0.05
&END OT
&OUTER_SCF ON
MAX_SCF 10
EPS_SCF {eps:.1e}
&END OUTER_SCF""",
    "slow": """
MAX_SCF 400
&DIAGONALIZATION ON
&END DIAGONALIZATION
&MIXING
METHOD BROYDEN_MIXING
ALPHA 0.05
NBROYDEN 20
&END MIXING""",
}

NETWORKS = "NNP/bulkH2O-jcp2020-cnnp"


def dft_input(config: CP2KConfig, scf: str) -> str:
    """GPW with one way to self-consistency.

    Parameters
    ----------
    config : CP2KConfig
    scf : str
        Key of `SCF`.
    """
    functional, dispersion = FUNCTIONALS[config.functional]
    how = SCF[scf].format(steps=config.max_scf, eps=config.eps_scf)
    return f"""
&FORCE_EVAL
&DFT
&MGRID
NGRIDS 4
REL_CUTOFF [Ry] {config.relative_cutoff}
&END MGRID
&QS
METHOD GPW
EPS_DEFAULT {config.eps_default:.1e}
EXTRAPOLATION USE_GUESS
&END QS
&SCF
SCF_GUESS ATOMIC
EPS_SCF {config.eps_scf:.1e}
{how.strip()}
&PRINT
&RESTART OFF
&END RESTART
&END PRINT
&END SCF
&XC
&XC_FUNCTIONAL
{functional}
&END XC_FUNCTIONAL
{_dispersion(dispersion)}
&END XC
&END DFT{_basis_of_each(config)}
&END FORCE_EVAL
"""


def _basis_of_each(config: CP2KConfig) -> str:
    """Section of an element with a basis set of its own; otherwise ASE writes it."""
    if isinstance(config.basis, str):
        return ""
    kinds = [f"&KIND {e}\nBASIS_SET {name}\n&END KIND" for e, name in config.basis.items()]
    return "\n".join(["", "&SUBSYS", *kinds, "&END SUBSYS"])


def _dispersion(name: str | None) -> str:
    if name is None:
        return ""
    return f"""&VDW_POTENTIAL
DISPERSION_FUNCTIONAL PAIR_POTENTIAL
&PAIR_POTENTIAL
TYPE DFTD3
PARAMETER_FILE_NAME dftd3.dat
REFERENCE_FUNCTIONAL {name}
&END PAIR_POTENTIAL
&END VDW_POTENTIAL"""


def nnp_input() -> str:
    """The committee of networks for liquid water that CP2K's data hold."""
    models = "\n".join(
        f"&MODEL\nWEIGHTS {NETWORKS}/nnp-{k}/weights\n&END MODEL" for k in range(1, 9)
    )
    return f"""
&FORCE_EVAL
&NNP
NNP_INPUT_FILE_NAME {NETWORKS}/nnp-1/input.nn
SCALE_FILE_NAME {NETWORKS}/nnp-1/scaling.data
{models}
&END NNP
&END FORCE_EVAL
"""
