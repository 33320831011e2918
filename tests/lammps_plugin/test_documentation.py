"""The examples of docs/pair_tpainn.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lammps_plugin.single_point import run_input, write_data

PAGE = Path(__file__).parents[2] / "docs" / "pair_tpainn.md"


def examples() -> list[str]:
    section = PAGE.read_text().split("## Examples")[1].split("\n## ")[0]
    return re.findall(r"^```lammps\n(.*?)^```", section, re.M | re.S)


@pytest.mark.parametrize("number", range(len(examples())))
def test_example_of_the_page(tmp_path, box, make_model, export, number):
    text = examples()[number]
    for name in set(re.findall(r"[\w]+\.pt", text)):
        digits = re.findall(r"\d+", name)
        model = export(make_model(Path(name).stem, seed=int(digits[0]) if digits else 0))
        (tmp_path / name).write_bytes(model.read_bytes())
    text = text.replace("device cuda", "device cpu")  # the machine of the tests has none
    elements = ["H", "O"] if re.search(r"pt H O", text) else ["O", "H"]
    if "NULL" in text:
        elements = [*elements, "He"]
    write_data(tmp_path / "data", box, elements)
    (tmp_path / "in").write_text(
        f"units metal\natom_style atomic\nread_data data\n{text}\nfix 1 all nve\nrun 1\n"
    )
    assert "Loop time" in run_input(tmp_path / "in")


def test_there_are_examples():
    page = "".join(examples())
    assert len(examples()) >= 5
    assert "dispersion/d3" in page
    assert "deviation" in page
