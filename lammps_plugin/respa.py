"""Multiple time stepping: the lines of a LAMMPS input that let a fast model fill in the steps.

The fast model is integrated with the inner step, and what it leaves to the full one with the
outer step (r-RESPA; Tuckerman, Berne, Martyna, J. Chem. Phys. 97, 1990 (1992)), so that the full
model is evaluated once per outer step and its trajectory is followed all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tpainn_calc.base.errors import ConfigError

#: fs of one unit of time.
TIME_UNITS = {"metal": 1e3, "real": 1.0}


@dataclass(frozen=True)
class TimeSteps:
    """Outer and inner time step, fs.

    Raises
    ------
    ConfigError
        If the outer step is not a whole number of inner ones.
    """

    outer: float
    inner: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.inner <= self.outer:
            raise ConfigError(
                f"an inner step of {self.inner:g} fs does not fit into an outer one of "
                f"{self.outer:g} fs"
            )
        if abs(self.loops * self.inner - self.outer) > 1e-6 * self.outer:
            raise ConfigError(
                f"the outer step ({self.outer:g} fs) is not a whole number of inner ones "
                f"({self.inner:g} fs)"
            )

    @property
    def loops(self) -> int:
        """Inner steps of an outer one."""
        return round(self.outer / self.inner)


def respa_lines(
    models: Sequence[str],
    fast: str,
    elements: Sequence[str],
    steps: TimeSteps,
    options: str = "",
    units: str = "metal",
) -> str:
    """LAMMPS commands that take the place of ``pair_style``, ``pair_coeff`` and ``timestep``.

    Parameters
    ----------
    models : sequence of str
        Deployed files of the full model; several make a committee, which is evaluated once per
        outer step.
    fast : str
        Deployed file of the fast one.
    elements : sequence of str
        Per atom type.
    steps : TimeSteps
    options : str
        Of ``pair_style tpainn``, for the full model.
    units : {"metal", "real"}

    Raises
    ------
    ConfigError
        If LAMMPS' unit of time is not known.
    """
    if units not in TIME_UNITS:
        raise ConfigError(f"units {units} cannot be served; use metal or real")
    types = " ".join(elements)
    full = " ".join(["tpainn", options]).rstrip()
    plain = "tpainn range off"  # the full model guards the distances
    lines = [
        f"pair_style   hybrid/scaled 1.0 {plain} 1.0 {full} -1.0 {plain}",
        f"pair_coeff   * * tpainn 1 {fast} {types}",
        f"pair_coeff   * * tpainn 2 {' '.join(models)} {types}",
        f"pair_coeff   * * tpainn 3 {fast} {types}",
        f"timestep     {steps.outer / TIME_UNITS[units]:.10g}",
        f"run_style    respa 2 {steps.loops} hybrid 1 2 2",
    ]
    return "\n".join(lines) + "\n"


def rewrite_input(text: str, fast: str, steps: TimeSteps) -> str:
    """The same LAMMPS input with multiple time steps.

    Numbers of steps, such as those of ``run`` and ``thermo``, now count outer steps, and stay as
    they are.

    Parameters
    ----------
    text : str
        An input with one ``pair_style tpainn`` and one ``pair_coeff * *``.
    fast : str
        Deployed file of the fast model.
    steps : TimeSteps

    Raises
    ------
    ConfigError
        If the input has no such lines or more of them, or has a ``run_style`` of its own.
    """
    found = {name: _command(text, name) for name in ("pair_style", "pair_coeff")}
    style, coefficients = (found[name].group("words").split() for name in found)
    if style[:1] != ["tpainn"]:
        raise ConfigError(f"pair_style {' '.join(style)}: only a plain 'pair_style tpainn' can be "
                          "given multiple time steps")  # fmt: skip
    if coefficients[:2] != ["*", "*"]:
        raise ConfigError("pair_coeff must be for all types: pair_coeff * * MODEL.pt ...")
    if re.search(r"^\s*run_style\b", text, re.M):
        raise ConfigError("the input has a run_style of its own; take it out")
    files = [word for word in coefficients[2:] if word.endswith(".pt")]
    elements = [word for word in coefficients[2:] if not word.endswith(".pt")]
    if not files or not elements:
        raise ConfigError("pair_coeff names no model (.pt), or no elements after it")
    unit = re.search(r"^\s*units\s+(\w+)", text, re.M)
    if unit is None:
        raise ConfigError("the input has no 'units' line: metal or real")
    lines = respa_lines(files, fast, elements, steps, " ".join(style[1:]), unit.group(1))
    text = re.sub(r"^[ \t]*timestep\b.*\n?", "", text, flags=re.M)
    text = text.replace(found["pair_coeff"].group(0), lines)
    return text.replace(found["pair_style"].group(0), "")


def _command(text: str, name: str) -> re.Match[str]:
    found = list(re.finditer(rf"^[ \t]*{name}[ \t]+(?P<words>[^#\n]*).*\n?", text, re.M))
    if len(found) != 1:
        raise ConfigError(f"the input has {len(found)} lines of {name}, and one is needed")
    return found[0]
