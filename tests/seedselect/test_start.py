"""Start-up without scikit-learn: help, state of a campaign, `import seedselect`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seedselect

HEAVY = ("torch", "sklearn", "scipy", "ase.calculators", "matplotlib", "lightning")


@pytest.mark.parametrize(
    "program",
    [
        "import seedselect",
        "import seedselect.campaign",
        "from seedselect.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from seedselect.cli import main\nassert main(['status', 'nowhere']) == 2",
    ],
)
def test_starting_is_light(program):
    program += f"\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_public_names_are_there():
    for name in seedselect.__all__:
        assert getattr(seedselect, name) is not None
    assert set(seedselect.__all__) <= set(dir(seedselect))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = seedselect.Nothing
