"""``tpainn``: look at a potential, evaluate it, export it, check it, observe a trajectory."""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tpainn_calc.base.command import run_command
from tpainn_calc.base.errors import StructureError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``tpainn``."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    return run_command(lambda: arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tpainn", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="what a model file says of itself")
    info.add_argument("model", nargs="?", help="model file or shipped name; none: list the names")
    info.set_defaults(run=_info)

    evaluate = commands.add_parser("evaluate", help="energy, forces and stress of structures")
    evaluate.add_argument("model", help="model file or name of a shipped potential")
    evaluate.add_argument("structures", type=Path, help="any file that ASE reads")
    evaluate.add_argument("-o", "--output", type=Path, help="extended XYZ with the results")
    evaluate.set_defaults(run=_evaluate)

    export = commands.add_parser("export", help="model file -> TorchScript for LAMMPS")
    export.add_argument("model", help="model file or name of a shipped potential")
    export.add_argument("output", type=Path, help="file to write, NAME.pt")
    export.add_argument("--dtype", choices=["float32", "float64"], help="network's type")
    export.add_argument(
        "--kernel", choices=["auto", "fused", "plain"], default="auto", help="plain: for GPUs"
    )
    export.set_defaults(run=_export)

    check = commands.add_parser("check", help="compare eager, fused, exported and LAMMPS")
    check.add_argument("model", help="model file or name of a shipped potential")
    check.add_argument("structure", nargs="?", type=Path, help="default: the golden structure")
    check.set_defaults(run=_check)

    observe = commands.add_parser("observe", help="density, RDF and diffusion of a trajectory")
    observe.add_argument("trajectory", type=Path, help="ASE trajectory, extended XYZ, LAMMPS dump")
    observe.add_argument("--topology", type=Path, help="for formats without names")
    observe.add_argument("--timestep", type=float, metavar="FS", help="MD step, for LAMMPS dumps")
    observe.add_argument("--interval", type=float, metavar="FS", help="between frames, otherwise")
    observe.add_argument("--elements", nargs="+", help="of LAMMPS types 1, 2, ...")
    observe.add_argument("--pair", nargs=2, default=["O", "O"], metavar=("A", "B"), help="for RDF")
    observe.add_argument("--skip", type=float, default=0.2, help="fraction to discard first")
    observe.add_argument("--temperature", type=float, help="K, for the finite-size correction")
    observe.add_argument("--viscosity", type=float, help="mPa·s, for the finite-size correction")
    observe.add_argument("-o", "--output", type=Path, default=Path("observables"))
    observe.set_defaults(run=_observe)
    return parser


def _info(arguments: argparse.Namespace) -> int:
    from tpainn_calc.modelfile import find_model, load_model, shipped_models

    if arguments.model is None:
        print("shipped potentials:", ", ".join(shipped_models()) or "none")
        return 0
    path = find_model(arguments.model)
    _, manifest = load_model(path, kernel="plain")
    shape = manifest.hyperparameters
    rows = {
        "name": manifest.name,
        "file": str(path),
        "level of theory": manifest.level_of_theory,
        "elements": " ".join(shape["elements"]),
        "network": f"F = {shape['n_features']}, {shape['n_blocks']} blocks, {shape['cutoff']} Å, "
        f"{shape['n_basis']} {shape['basis']} functions, {shape['envelope']} envelope, "
        f"{manifest.dtype}",
        "trained on": ", ".join(
            f"{v} {k.removeprefix('n_')}" for k, v in manifest.training.items() if k[:2] == "n_"
        ),
        "held-out errors": ", ".join(f"{k} {_short(v)}" for k, v in manifest.errors.items()),
        "shortest distances": ", ".join(
            f"{k} {v} Å" for k, v in manifest.shortest_distances.items()
        ),
        "citation": manifest.citation,
        "golden values": "reproduced",  # load_model has just computed them
    }
    for name, value in rows.items():
        if value:
            print(f"{name:20s} {value}")
    return 0


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evaluate(arguments: argparse.Namespace) -> int:
    import ase.io
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator

    from tpainn_calc.calculator import TPaiNNCalculator

    frames = _read(arguments.structures)
    calculator = TPaiNNCalculator(arguments.model, skin=0.0)
    energy_errors, force_errors, stress_errors = [], [], []
    for index, atoms in enumerate(frames):
        labels = dict(atoms.calc.results) if atoms.calc is not None else {}
        bulk = atoms.pbc.all() and atoms.cell.rank == 3
        properties = ["energy", "forces", *(["stress"] if bulk else [])]
        try:
            calculator.calculate(atoms, properties)
        except StructureError as error:
            raise StructureError(f"{arguments.structures}, frame {index}: {error}") from None
        result = calculator.results
        largest = np.linalg.norm(result["forces"], axis=1).max()
        print(f"frame {index}: energy {result['energy']:.6f} eV, largest force {largest:.4f} eV/Å")
        if "energy" in labels:
            energy_errors.append(abs(result["energy"] - labels["energy"]) / len(atoms))
        if "forces" in labels:
            force_errors.append(np.abs(result["forces"] - labels["forces"]).mean())
        if "stress" in labels and bulk:
            stress_errors.append(np.abs(result["stress"] - labels["stress"]).mean())
        atoms.calc = SinglePointCalculator(
            atoms, **{k: v for k, v in result.items() if k in ("energy", "forces", "stress")}
        )
    if energy_errors:
        print(f"energy MAE {1000 * np.mean(energy_errors):.3f} meV/atom")
    if force_errors:
        print(f"force MAE {1000 * np.mean(force_errors):.2f} meV/Å")
    if stress_errors:
        print(f"stress MAE {1000 * np.mean(stress_errors):.3f} meV/Å³")
    if arguments.output:
        ase.io.write(arguments.output, frames, format="extxyz")
        print(arguments.output)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    import torch

    from tpainn_calc.export import export_model

    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    manifest = export_model(arguments.model, arguments.output, dtype, arguments.kernel)
    elements = " ".join(manifest.hyperparameters["elements"])
    print(f"{arguments.output}: {manifest.name}, elements {elements}, {manifest.dtype}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    import torch

    from tpainn_calc import ops
    from tpainn_calc.export import export_model, load_exported
    from tpainn_calc.graph import Graph
    from tpainn_calc.modelfile import Kernel, load_model
    from tpainn_calc.potential import predict

    plain, manifest = load_model(arguments.model, dtype=torch.float64, kernel="plain")
    atoms = _read(arguments.structure)[-1] if arguments.structure else manifest.golden.atoms()
    graph = Graph.from_atoms(atoms, plain.elements, plain.cutoff)
    reference = predict(plain, graph)
    print(f"{len(atoms)} atoms; differences from plain PyTorch, float64: eV/atom, eV/Å")
    kernels: list[Kernel] = ["plain", "fused"] if ops.load() else ["plain"]
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for kernel in kernels:
            for dtype in (torch.float64, torch.float32):
                potential, _ = load_model(arguments.model, dtype=dtype, kernel=kernel)
                file = Path(folder) / "model.pt"
                export_model(arguments.model, file, dtype, kernel)
                for name, module in (("eager", potential), ("exported", load_exported(file)[0])):
                    result = predict(module, graph)  # type: ignore[arg-type]  # same signature
                    energy = float((result.energies - reference.energies).abs().max())
                    assert result.forces is not None  # asked for by default
                    assert reference.forces is not None
                    forces = float((result.forces - reference.forces).abs().max())
                    print(f"{name:9s} {kernel:6s} {str(dtype)[6:]:8s} {energy:9.1e} {forces:9.1e}")
                    worst = max(worst, energy, forces)
    failed = _check_lammps(arguments)
    scale = float(reference.forces.abs().max()) if reference.forces is not None else 1.0
    agree = worst < 1e-3 * max(1.0, scale) and not failed
    print("all agree" if agree else "DISAGREEMENT: see the table")
    return 0 if agree else 1


def _check_lammps(arguments: argparse.Namespace) -> bool:
    # a program of its own: this package does not import the plugin
    program = shutil.which("tpainn-lammps", path=str(Path(sys.executable).parent))
    if program is None:
        print("LAMMPS: skipped, tpainn-lammps is not installed")
        return False
    if arguments.structure is None:
        print("LAMMPS: skipped, give a structure (the golden one is not periodic)")
        return False
    command = [program, "parity", str(arguments.model), str(arguments.structure)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print("LAMMPS:", done.stdout.strip() or done.stderr.strip())
    return done.returncode != 0


def _observe(arguments: argparse.Namespace) -> int:
    import numpy as np

    from tpainn_calc import observables

    universe = observables.load_trajectory(
        arguments.trajectory,
        arguments.topology,
        timestep_fs=arguments.timestep,
        frame_interval_fs=arguments.interval,
        elements=arguments.elements,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    start = int(arguments.skip * universe.trajectory.n_frames)
    a, b = arguments.pair
    rho = observables.density(universe, start=start)
    print(f"density {rho.value:.4f} ± {rho.error:.4f} {rho.unit}")
    observables.plot_density(rho, arguments.output / "density.png")
    g = observables.rdf(universe, a, b, start=start)
    print(f"g_{a}{b}: highest peak {g.value:.3f} ± {g.error:.3f} at {g.peak_r:.2f} Å")
    reference = observables.GOO_XRAY_295K if (a, b) == ("O", "O") else None
    observables.plot_rdf(g, reference, arguments.output / f"g_{a}{b}.png")
    table = np.column_stack([g.r, g.g, g.g_error])
    np.savetxt(arguments.output / f"g_{a}{b}.csv", table, "%.6g", ",", header="r,g,error")
    if np.isfinite(universe.trajectory.dt) and universe.trajectory.n_frames - start >= 50:
        d = observables.diffusion(
            universe,
            a,
            temperature=arguments.temperature,
            viscosity=arguments.viscosity,
            start=start,
        )
        print(f"diffusion of {a} {d.value:.4f} ± {d.error:.4f} {d.unit}")
        observables.plot_msd(d, arguments.output / "msd.png")
    else:
        print("diffusion: skipped, it needs the time between frames and 50 frames or more")
    print(f"figures and tables in {arguments.output}")
    return 0


def _read(path: Path):  # type: ignore[no-untyped-def]  # list of ase.Atoms; ase is slow to import
    import ase.io

    try:
        return ase.io.read(path, ":")
    except FileNotFoundError:
        raise StructureError(f"no structure file {path}") from None
    except Exception as error:  # ASE raises whatever its parsers happen to meet
        raise StructureError(f"{path} is not a structure that ASE can read: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
