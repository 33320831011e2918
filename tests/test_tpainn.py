"""``import tpainn``: the obvious name."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
