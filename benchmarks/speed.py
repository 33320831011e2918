"""Time a force call of liquid water: our paths and peers, side by side in one run.

``python -m benchmarks.speed`` writes ``benchmarks/results/speed.csv`` and ``speed.png`` (and prints
the table); ``--peers schnetpack mace`` adds other codes, each in an environment of its own that
is made from the package index.

Every entry computes energy and forces (float32 network) of the same boxes from a neighbour list
that is already there. The row ``ase`` is a call of the calculator after every atom has moved a
little, list handling included; ``lammps`` is a whole MD step; ``train-plain`` and ``train-fused``
are optimiser steps on energy and forces. Weights are random; time does not depend on them.

``--device cuda`` measures the same on a GPU (``speed-cuda.csv``), beside ``graph``: the fused path
as a recorded CUDA graph, positions in and forces out, as the calculator runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import write_measurements

HERE = Path(__file__).parent
# waters along an edge -> 192, 648, 1536, 3000, 12288 atoms
DEFAULT_SIDES = (4, 6, 8, 10, 16)
OURS = ("plain", "fused", "graph", "ase", "lammps", "train-plain", "train-fused")
# a training batch of water; more atoms need the memory, and tell nothing new
LARGEST_TRAINING = {"cpu": 648, "cuda": 3000}
_SCHNETPACK_NEEDS = (
    "ase dirsync fasteners h5py hydra-colorlog hydra-core matscipy numpy protobuf pyyaml rich "
    "pytorch-lightning sympy tensorboard tensorboardX torch-ema torchmetrics tqdm"
)
# arguments of pip, call by call
PEERS = {
    # its own requirements contradict each other, so they are named here
    "schnetpack": [
        _SCHNETPACK_NEEDS.split(),
        ["--no-deps", "schnetpack==2.1.1"],
    ],
    "mace": [["mace-torch==0.3.16"]],
    "nequip": [["nequip==0.19.1"]],
}


@dataclass(frozen=True)
class Row:
    """One measurement."""

    code: str
    n_atoms: int
    threads: int
    features: int
    ms: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Atoms · steps per second."""
        return 1000 * self.n_atoms / self.ms


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.speed", description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=DEFAULT_SIDES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--codes", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=[])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one measurement")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    parser.add_argument("--worker", nargs=3, metavar=("CODE", "SIDE", "FEATURES"))
    arguments = parser.parse_args()
    if arguments.worker:
        code, side, features = arguments.worker
        print(json.dumps(_measure_here(code, int(side), int(features), arguments.device)))
        return 0
    on_gpu = arguments.device == "cuda"
    codes = [code for code in arguments.codes if on_gpu or code != "graph"]
    interpreters = dict.fromkeys(codes, sys.executable)
    for peer in arguments.peers:
        python = _environment(peer)
        if python:
            interpreters[peer] = python
    rows = []
    for threads in arguments.threads:
        for side in arguments.sides:
            for code, python in interpreters.items():
                row = _measure(code, python, side, threads, arguments)
                if row:
                    rows.append(row)
                    print(
                        f"{code:11s} {row.n_atoms:6d} atoms {threads} thread(s) {row.ms:9.2f} ms "
                        f"{row.rate:10,.0f} atoms·steps/s {row.peak_mb:7.0f} MB",
                        flush=True,
                    )
    _write(rows, arguments.output, "speed-cuda" if on_gpu else "speed")
    return 0


def _measure(
    code: str, python: str, side: int, threads: int, arguments: argparse.Namespace
) -> Row | None:
    """One measurement in a process of its own, so that memory and threads are its own."""
    features, timeout = arguments.features, arguments.timeout
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if code in PEERS:
        command = [python, str(HERE / "peers" / f"{code}.py"), str(side), str(features)]
    else:
        worker = ["--device", arguments.device, "--worker", code, str(side), str(features)]
        command = [python, "-m", "benchmarks.speed", *worker]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{code:11s} side {side}: skipped, more than {timeout:.0f} s")
        return None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"{code:11s} side {side}: skipped, {reason[:150]}")
        return None
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return Row(code, 3 * side**3, threads, features, result["ms"], result["peak_mb"])


def _measure_here(code: str, side: int, features: int, device: str) -> dict[str, float]:
    import torch

    from benchmarks.timing import median_ms
    from benchmarks.water import water_box
    from tpainn_calc import Hyperparameters, Potential, TPaiNNCalculator, save_model

    atoms = water_box(side)
    call: Callable[[], object]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "random.safetensors"
        torch.manual_seed(0)
        potential = Potential(Hyperparameters(("O", "H"), n_features=features))
        potential.scale.fill_(1e-3)  # forces too small to tear the lattice apart in MD
        save_model(model, potential)
        if code.startswith("train-"):
            call = _training_step(atoms, features, code == "train-fused", device)
        elif code == "lammps":
            return _measure_lammps(atoms, model, Path(folder), device)
        elif code == "ase":
            atoms.calc = TPaiNNCalculator(model, device=device)
            call = _moved(atoms)
        else:
            call = _force_call(code, model, atoms, device)
        ms = median_ms(_synchronized(call) if device == "cuda" else call)
    if device == "cuda":
        return {"ms": ms, "peak_mb": torch.cuda.max_memory_allocated() / 2**20}
    return {"ms": ms, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _force_call(code: str, model: Path, atoms, device: str) -> Callable[[], object]:  # type: ignore[no-untyped-def]
    from tpainn_calc import predict
    from tpainn_calc.gpu_step import StepOnGPU
    from tpainn_calc.graph import Graph
    from tpainn_calc.modelfile import Kernel, load_model
    from tpainn_calc.neighbors import NeighborList

    kernel: Kernel = "fused" if code in ("fused", "graph") else "plain"
    loaded, _ = load_model(model, kernel=kernel, device=device)
    graph = Graph.from_atoms(atoms, loaded.elements, loaded.cutoff).to(device)
    if code == "graph":
        step = StepOnGPU(loaded)
        pairs = NeighborList(loaded.cutoff, skin=1.0)
        pairs.refresh(atoms)
        step.set_list(graph.species.cpu().numpy(), pairs.candidates)

        def replay() -> object:
            forces = step(atoms.positions, virial=False).forces
            assert forces is not None
            return forces.cpu()

        return replay
    return lambda: predict(loaded, graph)


def _synchronized(call: Callable[[], object]) -> Callable[[], None]:
    import torch

    def synchronized() -> None:
        call()
        torch.cuda.synchronize()

    return synchronized


def _moved(atoms):  # type: ignore[no-untyped-def]  # ase.Atoms; ase is slow to import
    import numpy as np

    # thermal motion of a time step, back and forth: the skin is crossed as seldom as in MD
    moves = np.random.default_rng(0).normal(scale=5e-3, size=atoms.positions.shape)
    sign = [1.0]

    def call() -> object:
        sign[0] = -sign[0]
        atoms.positions += sign[0] * moves
        return atoms.get_forces()

    return call


def _training_step(atoms, features: int, fused: bool, device: str) -> Callable[[], object]:  # type: ignore[no-untyped-def]
    import numpy as np
    import torch
    from ase.calculators.singlepoint import SinglePointCalculator

    from tpainn_calc import Hyperparameters, Potential, ops
    from training.data.batches import FrameDataset
    from training.fit.module import PotentialModule, loss_terms
    from training.fit.sections import LossSection, OptimizerSection

    if len(atoms) > LARGEST_TRAINING[device]:
        sys.exit(f"training is timed up to {LARGEST_TRAINING[device]} atoms")
    forces = np.random.default_rng(0).normal(size=atoms.positions.shape)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
    if fused:
        ops.load(device)
    potential = Potential(Hyperparameters(("O", "H"), n_features=features), fused=fused)
    optimizer = OptimizerSection(max_steps=1)
    module = PotentialModule(potential.set_dtype(torch.float32), LossSection(), optimizer)
    module.to(device)
    adam = torch.optim.AdamW(potential.parameters())
    batch = FrameDataset([atoms], potential.elements, potential.cutoff)[0].to(device)

    def step() -> None:
        adam.zero_grad()
        terms = loss_terms(module.predict_batch(batch, create_graph=True), batch, module.loss)
        module.backward(torch.stack(list(terms.values())).sum())
        adam.step()

    return step


def _measure_lammps(atoms, model: Path, folder: Path, device: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    import ase.io

    from tpainn_calc.export import export_model

    export_model(model, folder / "random.pt")
    ase.io.write(folder / "box.data", atoms, format="lammps-data", specorder=["O", "H"])
    steps = max(5, min(200, (60_000 if device == "cpu" else 1_000_000) // len(atoms)))
    (folder / "in.lammps").write_text(
        "units metal\natom_style atomic\nread_data box.data\n"
        f"pair_style tpainn device {device}\n"
        "pair_coeff * * random.pt O H\nmass 1 15.999\nmass 2 1.008\ntimestep 0.0005\n"
        f"fix 1 all nve\nrun 3\nrun {steps}\n"
    )
    program = Path(sys.executable).parent / "tpainn-lammps"
    done = subprocess.run(
        [str(program), "run", "in.lammps"], cwd=folder, capture_output=True, text=True, check=True
    )
    seconds = float(re.findall(r"Loop time of (\S+)", done.stdout)[-1])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"ms": 1000 * seconds / steps, "peak_mb": peak}


def _environment(peer: str) -> str | None:
    """Interpreter of a peer's environment, made if need be; None with a reason printed."""
    folder = Path(tempfile.gettempdir()) / f"tpainn-benchmark-{peer}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.is_file():
        return str(python)
    torch_version = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.__version__.split('+')[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # the same torch as ours, so that codes are compared and not torch versions
    same_torch = f"torch=={torch_version}"
    install = [str(python), "-m", "pip", "install", "-q"]
    commands = [
        [sys.executable, "-m", "venv", str(folder)],
        [*install, same_torch],
        *([*install, same_torch, *step] for step in PEERS[peer]),
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"{peer}: skipped, its environment could not be made: {reason}")
            return None
    ready.touch()
    return str(python)


def _write(rows: list[Row], folder: Path, name: str) -> None:
    table = [{**asdict(row), "atoms_steps_per_s": round(row.rate, 1)} for row in rows]
    write_measurements(folder / f"{name}.csv", table)
    _plot(rows, folder / f"{name}.png")
    for row in rows:
        if row.code == "fused":
            _print_ratios(row, rows)


def _print_ratios(fused: Row, rows: list[Row]) -> None:
    peers = [
        f"{other.code} / fused = {other.ms / fused.ms:.1f}"
        for other in rows
        if (other.n_atoms, other.threads) == (fused.n_atoms, fused.threads)
        and other != fused
        and not other.code.startswith("train-")
    ]
    print(f"{fused.n_atoms} atoms, {fused.threads} thread(s): {', '.join(peers)}")


def _plot(rows: list[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for threads, style in ((1, "-"), (2, "--")):
        for code, colour in zip([*OURS, *PEERS], COLOURS, strict=False):
            points = [(r.n_atoms, r.ms) for r in rows if (r.code, r.threads) == (code, threads)]
            if points:
                x, y = zip(*points, strict=True)
                label = f"{code}, {threads} thread" + ("s" if threads > 1 else "")
                axes.loglog(x, y, style, marker="o", ms=4, color=colour, label=label)
    axes.set(xlabel="atoms (liquid water)", ylabel="time of a force call, MD or training step / ms")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=140)


COLOURS = (
    *("#888888", "#e0a030", "#2a6fbb", "#14305a", "#3c9d55", "#c8442b", "#c4c4c4", "#8fb8e0"),
    *("#8a5cc2", "#b8862b", "#d16ba5"),
)


if __name__ == "__main__":
    sys.exit(main())
