"""Run the plugin under AddressSanitizer: ``make sanitize``.

The plugin and the fused operator are compiled with ``-fsanitize=address`` into one library, which
short runs use in every ghost mode, with several models and rebuilt neighbour lists; two end in an
error.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from lammps_plugin.build import plugin_library
from lammps_plugin.run import lammps_command, lammps_environment
from tpainn_calc import ops
from tpainn_calc.base.command import run_command
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.compiler import Library, compile_library, find_compiler
from tpainn_calc.export import export_model
from tpainn_calc.modelfile import save_model
from tpainn_calc.potential import Hyperparameters, Potential

INPUT = """
units metal
atom_style atomic
processors * * *
lattice sc 2.0
region box prism 0 4 0 4 0 4 1 0 0
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.66 1234
displace_atoms all random 0.2 0.2 0.2 99
mass 1 16
mass 2 1
pair_style tpainn {options}
pair_coeff * * {models} O H
neigh_modify every 3 delay 0 check no
timestep 0.0001
velocity all create 300 1
compute s all centroid/stress/atom NULL virial
compute r all reduce sum c_s[1]
thermo_style custom step pe press c_r
thermo 5
fix 1 all nve/limit 0.01
run 20
clear
"""

SAME_PLACE = "create_atoms 1 single 1 1 1\ncreate_atoms 1 single 1 1 1\nrun 20"
RUNS = [(1, ""), (1, "ghosts exchange"), (1, "ghosts extended"), (2, ""), (2, "ghosts extended")]


def main() -> int:
    """Build, run, report; 0 if nothing was found, 1 if something was."""
    plugin = compile_library(_with_sanitizer(plugin_library()), print)
    done = subprocess.run(
        [find_compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    environment = lammps_environment() | {
        "LAMMPS_PLUGIN_PATH": str(plugin.parent),
        "LD_PRELOAD": done.stdout.strip(),
        # Python, libtorch and MPI keep memory until the end on purpose
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "OMP_NUM_THREADS": "1",
    }
    found = 0
    with tempfile.TemporaryDirectory(prefix="tpainn-") as name:
        models = [str(_model(Path(name), seed)) for seed in range(2)]
        for several in (False, True):
            for ranks, options in RUNS:
                deviation = " deviation 5 devi.out" if several else ""
                text = INPUT.format(
                    options=options + deviation,
                    models=" ".join(models if several else models[:1]),
                )
                (Path(name) / "in").write_text(text)
                found += _run(Path(name), ranks, environment, f"{options}{deviation}")
        for ranks in (1, 2):
            text = INPUT.format(options="", models=models[0]).replace("run 20", SAME_PLACE)
            (Path(name) / "in").write_text(text)
            found += _run(Path(name), ranks, environment, "atoms at one place", "on top of each")
    print("AddressSanitizer found nothing" if not found else f"{found} runs with findings")
    return 1 if found else 0


def _with_sanitizer(library: Library) -> Library:
    """The plugin, with the operator in it rather than loaded from a library of its own."""
    sanitizer = ["-fsanitize=address", "-O1", "-g", "-fno-omit-frame-pointer"]
    return dataclasses.replace(
        library,
        sources=[*library.sources, *ops.OPS.sources],
        headers=[*library.headers, *ops.OPS.headers],
        flags=[f for f in library.flags if "OPS_LIBRARY" not in f] + [*ops.OPS.flags, *sanitizer],
        links=[*library.links, "-lasan"],
    )


def _run(folder: Path, ranks: int, environment: dict[str, str], what: str, error: str = "") -> int:
    done = subprocess.run(
        lammps_command(["-in", "in", "-log", "none"], ranks),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    as_expected = error in output if error else done.returncode == 0
    clean = as_expected and "AddressSanitizer" not in output
    print(
        f"{ranks} rank(s) {what or 'ghosts auto'}: {'clean' if clean else 'FINDINGS'}", flush=True
    )
    if not clean:
        print(output[-4000:])
    return 0 if clean else 1


def _model(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    potential = Potential(Hyperparameters(("O", "H"), n_features=8, n_blocks=3, cutoff=3.0))
    potential.scale *= 0.01
    save_model(folder / "model.safetensors", potential.set_dtype(torch.float64))
    if not ops.load():
        raise TPaiNNError("the fused operator cannot be compiled")
    path = folder / f"model{seed}.pt"
    export_model(folder / "model.safetensors", path, dtype=torch.float64, kernel="fused")
    return path


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run_command(main))
