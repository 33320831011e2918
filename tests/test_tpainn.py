"""``import tpainn``: the obvious name."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tpainn
import tpainn_calc


def test_hands_on_the_public_names():
    assert tpainn.__version__ == tpainn_calc.__version__
    assert tpainn.__all__ == tpainn_calc.__all__
    assert set(tpainn.__all__) <= set(dir(tpainn))
    for name in tpainn.__all__:
        assert getattr(tpainn, name) is getattr(tpainn_calc, name)
    with pytest.raises(AttributeError, match="'tpainn' has no attribute 'TPaiNCalculator'"):
        _ = tpainn.TPaiNCalculator


def test_is_light():
    program = "import tpainn, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_what_setup_installs_is_there():
    """Every example that setup.cfg names for the wheel, and the methods in the citation."""
    root = Path(__file__).parents[1]
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    folders = setup["options.data_files"]
    assert "share/tpainn/examples/lammps" in folders
    patterns = " ".join(folders.values()).split()
    assert all(list(root.glob(pattern)) for pattern in patterns)
    installed = {path for pattern in patterns for path in root.glob(pattern)}
    for path in installed:
        if path.suffix == ".yaml":  # and what it reads
            for name in re.findall(r"examples/[\w./-]*\w", path.read_text(encoding="utf-8")):
                assert not (root / name).is_file() or root / name in installed, f"{path}: {name}"
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    cited = " ".join(reference["url"] for reference in citation["references"])
    assert all(number in cited for number in ("2102.03150", "2603.24752", "2602.02415"))
