"""LAMMPS commands that would change a model's energy unnoticed: refused before the first step."""

from __future__ import annotations

import pytest

from lammps_plugin.single_point import Setup, run_input, single_point, write_data
from tpainn_calc.base.errors import TPaiNNError

MOLECULES = """LAMMPS

6 atoms
4 bonds
2 angles
2 atom types
1 bond types
1 angle types

0 12 xlo xhi
0 12 ylo yhi
0 12 zlo zhi

Masses

1 1.008
2 15.999

Atoms # molecular

1 1 2 5.0 5.0 5.0
2 1 1 5.9 5.0 5.0
3 1 1 4.8 5.9 5.0
4 2 2 5.0 5.0 8.0
5 2 1 5.9 5.0 8.0
6 2 1 4.8 5.9 8.0

Bonds

1 1 1 2
2 1 1 3
3 1 4 5
4 1 4 6

Angles

1 1 2 1 3
2 1 5 4 6
"""
ZERO = "bond_style zero\nbond_coeff *\nangle_style zero\nangle_coeff *\n"
SPECIAL = "special_bonds lj/coul 1 1 1\n"


@pytest.fixture
def molecules(tmp_path, deployed):
    """Function that runs two waters with bonds and angles; returns LAMMPS' output."""

    def run(commands: str, special: str = SPECIAL, ranks: int = 1, pair: str = "") -> str:
        (tmp_path / "data").write_text(MOLECULES)
        pair = pair or f"pair_style tpainn\npair_coeff * * {deployed} H O\n"
        (tmp_path / "in").write_text(
            f"units metal\natom_style molecular\n{special}read_data data\n{pair}{commands}\nrun 0\n"
        )
        return run_input(tmp_path / "in", ranks)

    return run


def test_bonds_that_hide_neighbours(molecules):
    # LAMMPS' default
    with pytest.raises(TPaiNNError, match=r"special_bonds hides 6 bonded pairs .*bond_style zero"):
        molecules(ZERO, special="")
    assert "Loop time" in molecules(ZERO)


@pytest.mark.parametrize(
    ("styles", "complaint"),
    [
        (
            "bond_style harmonic\nbond_coeff * 20 0.96\nangle_style zero\nangle_coeff *\n",
            "bond_style harmonic adds energy to 4 bonds of atoms of the model, which has it "
            "already; use: bond_style zero",
        ),
        (
            "bond_style zero\nbond_coeff *\nangle_style harmonic\nangle_coeff * 3 104.5\n",
            "angle_style harmonic adds energy to 2 angles",
        ),
    ],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_bonded_styles_that_add_energy(molecules, styles, complaint, ranks):
    with pytest.raises(TPaiNNError, match=complaint):
        molecules(styles, ranks=ranks)


def test_bonds_of_atoms_of_another_style_are_fine(molecules, deployed):
    pair = (
        "pair_style hybrid tpainn lj/cut 3.0\n"
        f"pair_coeff * * tpainn {deployed} H NULL\npair_coeff * 2 lj/cut 0.01 1.0\n"
    )
    styles = "bond_style harmonic\nbond_coeff * 20 0.96\nangle_style harmonic\n"
    # the bonds are stored with the oxygens, which are none of the model's
    assert "Loop time" in molecules(f"{styles}angle_coeff * 3 104.5", pair=pair)


@pytest.mark.parametrize(
    "command",
    ["molecule/intra all", "molecule/inter all", "type 1 2", "group all all"],
)
def test_exclusions_are_refused_at_the_first_run(molecules, command):
    with pytest.raises(TPaiNNError, match="neigh_modify exclude hides atoms of the model"):
        molecules(f"{ZERO}neigh_modify exclude {command}")


def test_exclusions_among_other_atoms_are_fine(molecules, deployed):
    pair = (
        "pair_style hybrid tpainn lj/cut 3.0\n"
        f"pair_coeff * * tpainn {deployed} H NULL\npair_coeff * 2 lj/cut 0.01 1.0\n"
    )
    commands = f"{ZERO}group oxygen type 2\nneigh_modify exclude group oxygen all\n"
    assert "Loop time" in molecules(commands.replace("oxygen all", "oxygen oxygen"), pair=pair)


def test_elements_in_another_order_than_the_masses(tmp_path, box, deployed):
    write_data(tmp_path / "data", box, ["H", "O"])

    def run(elements: str, masses: str = "") -> str:
        (tmp_path / "in").write_text(
            "units metal\natom_style atomic\nread_data data\npair_style tpainn\n"
            f"pair_coeff * * {deployed} {elements}\n{masses}\nrun 0\n"
        )
        return run_input(tmp_path / "in")

    with pytest.raises(
        TPaiNNError,
        match=r"the elements O H are not in the order of the types, whose masses are 1.008 15.999; "
        r"did you mean: H O\?",
    ):
        run("O H")
    said = "the elements of pair_coeff are H O, the masses of their types"
    assert said not in run("H O")
    assert said not in run("H O", "mass 1 1.35\nmass 2 15.3")  # some repartitioned
    assert f"{said} 2.014 15.999" in run("H O", "mass 1 2.014")
    with pytest.raises(TPaiNNError, match="did you mean: H O"):
        run("O H", "mass 1 1.0\nmass 2 16.0")


def test_committee_of_unlike_levels_of_theory(box, make_model, export):
    models = [
        export(make_model(name, seed=seed, level_of_theory=level))
        for seed, (name, level) in enumerate([("a", "PBE"), ("b", "CCSD(T)")])
    ]
    with pytest.raises(TPaiNNError, match=r'different levels of theory: .*"PBE".*"CCSD\(T\)"'):
        single_point(box, models)
    single_point(box, models, Setup(options="levels any"))
    single_point(box, [models[0], models[0]])
