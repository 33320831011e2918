"""The fused operator and the calculator on a GPU give the CPU's numbers.

Without a GPU the kernels run in an emulator (emulated_gpu.cpp), on the CPU and block by block: it
sees wrong numbers and wrong barriers, but not what a driver or a real warp does.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.water import water_box
from tpainn_calc import TPaiNNCalculator, ops
from tpainn_calc.compiler import Library, compile_library
from tpainn_calc.gpu_step import StepOnGPU
from tpainn_calc.modelfile import load_model
from tpainn_calc.neighbors import NeighborList

HERE = Path(__file__).parent
SOURCES = Path(ops.__file__).parent
CUTOFF = 5.0
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module", autouse=True)
def cpu_operators():
    assert ops.load("cpu")


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=needs_gpu)])
def operators(request):
    """The operators under test, and the device of their tensors."""
    if request.param == "cuda":
        assert ops.load("cuda")
        return torch.ops.tpainn, "cuda"
    emulator = Library(
        name="emulated_gpu.so",
        sources=[HERE / "emulated_gpu.cpp"],
        headers=[
            SOURCES / name for name in ("message.cu", "message_gpu.cpp", "message.h", "gpu.h")
        ],
        include=[str(SOURCES)],
    )
    torch.ops.load_library(str(compile_library(emulator)))
    return torch.ops.tpainn_emulated, "cpu"


def random_graph(n_node: int, n_edge: int, features: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Centres, neighbours, vectors, x, v, table: some edges beyond the cut-off, some lone atoms."""
    rng = torch.Generator().manual_seed(n_edge)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    nodes = [torch.randint(max(1, n_node - 2), (n_edge,), generator=rng) for _ in range(2)]
    network = normal(n_node, 3 * features), normal(n_node, 3, features), normal(67, 3 * features)
    return [*nodes, 2.2 * normal(n_edge, 3), *(t.to(dtype) for t in network)]


def all_results(operators, device: str, graph: list[torch.Tensor], with_v: bool):
    """Whatever the operators return, from random inputs."""
    centre, neighbour, vec, x, v, table = (t.to(device) for t in graph)
    v = v if with_v else None
    n, rng = len(x), torch.Generator().manual_seed(1)

    def like(t: torch.Tensor) -> torch.Tensor:
        return torch.randn(t.shape, generator=rng, dtype=torch.float64).to(device, t.dtype)

    index = [centre, neighbour]
    index += [t for key in index for t in operators.compress(key, n)]
    common = x, v, vec, table, CUTOFF, index
    ds, dv = operators.message(*common)
    gs, gv = like(ds), like(dv)
    first = operators.message_backward(gs, gv, *common, True)
    hv = like(v) if v is not None else None
    second = operators.message_backward2(like(x), hv, like(vec), gs, gv, *common, True, False)
    forces = operators.edge_forces(like(vec), index)
    return [t.cpu() for t in (*index[2:], ds, dv, *first, *second, forces)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("features", [4, 64, 160])
@pytest.mark.parametrize("with_v", [True, False])
def test_operators(operators, dtype, features, with_v):
    sizes = [(1, 0), (3, 1), (9, 60), (2, 90)]
    for n_node, n_edge in sizes if operators[1] == "cpu" else [*sizes, (600, 30_000)]:
        graph = random_graph(n_node, n_edge, features, dtype)
        expected = all_results(torch.ops.tpainn, "cpu", graph, with_v)
        got, again = (all_results(*operators, graph, with_v) for _ in range(2))
        for a, b, c in zip(expected, got, again, strict=True):
            scale = max(1.0, float(a.abs().max())) if a.numel() else 1.0
            torch.testing.assert_close(b, a, rtol=0, atol=TOLERANCE[dtype] * scale)
            torch.testing.assert_close(b, c, rtol=0, atol=0)  # the same bits


def test_what_is_not_a_number_is_not_lost(operators):
    graph = random_graph(9, 60, 32, torch.float32)
    graph[2][7] = torch.nan
    namespace, device = operators
    results = all_results(namespace, device, graph, True)
    assert results[4][graph[0][7]].isnan().all()  # ds of the edge's centre
    assert results[4].isnan().any(dim=1).sum() == 1


def test_hessian_is_refused(operators):
    namespace, device = operators
    centre, neighbour, vec, x, v, table = (
        t.to(device) for t in random_graph(3, 5, 32, torch.float32)
    )
    index = [centre, neighbour]
    index += [t for key in index for t in namespace.compress(key, 3)]
    common = x, v, vec, table, CUTOFF, index
    ds, dv = namespace.message(*common)
    with pytest.raises(RuntimeError, match="compute them on the CPU"):
        namespace.message_backward2(x, v, vec, ds, dv, *common, False, True)


def test_too_many_features_are_refused(operators):
    namespace, device = operators
    graph = random_graph(2, 2, 516, torch.float32)
    with pytest.raises(RuntimeError, match="at most 512 features"):
        all_results(namespace, device, graph, True)


def test_a_machine_without_a_gpu_says_why():
    if torch.cuda.is_available():
        assert torch.ops.tpainn.gpu_problem() == ""
    else:
        assert torch.ops.tpainn.gpu_problem() == "no NVIDIA driver (libcuda.so.1)"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("graphs", [True, False])
def test_steps_over_one_list_and_the_next(device, kernel, graphs):
    """Moves within the skin, lists with more and with fewer edges, other atoms."""
    expected = TPaiNNCalculator("water", device="cpu", dtype="float64")
    potential, _ = load_model("water", dtype=torch.float64, device=device, kernel=kernel)
    step, pairs = StepOnGPU(potential, graphs), NeighborList(potential.cutoff, skin=1.0)
    rng = np.random.default_rng(0)
    atoms = water_box(4)
    for k in range(9):
        atoms.rattle(0.03, seed=k)
        if k in (3, 5):
            atoms.set_cell((0.98 if k == 3 else 1.05) * atoms.cell, scale_atoms=True)
        if k == 7:
            atoms = atoms[rng.permutation(len(atoms))]
        if pairs.refresh(atoms):
            species = np.array([potential.elements.index(s) for s in atoms.symbols])
            step.set_list(species, pairs.candidates)
        got = step(atoms.positions, virial=True)
        atoms.calc = expected
        tolerance = 1e-9 if kernel == "fused" else 1e-5  # exact filters there
        assert float(got.energy) == pytest.approx(atoms.get_potential_energy(), abs=1e3 * tolerance)
        np.testing.assert_allclose(got.forces.cpu(), atoms.get_forces(), rtol=1e-6, atol=tolerance)
        stress = -got.virial[0].cpu().numpy() / atoms.cell.volume
        np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), rtol=1e-6, atol=tolerance)
    assert pairs.rebuilds < 9  # some steps took the list as it was


@needs_gpu
def test_calculator_its_copies_and_committees():
    atoms = water_box(4)
    calculator = TPaiNNCalculator(["water", "water"], device="cuda", dtype="float64")
    results = []
    copies = [calculator, copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))]
    for calc in [TPaiNNCalculator("water", device="cpu", dtype="float64"), *copies]:
        atoms.calc = calc
        results.append((atoms.get_forces(), atoms.get_stress(), atoms.get_stresses()))
    for got in results[1:]:
        for a, b in zip(results[0], got, strict=True):
            np.testing.assert_allclose(b, a, atol=1e-9)
    atoms.rattle(0.01)
    assert atoms.get_forces().shape == (192, 3)
    assert copies[-1].results["forces_std"].max() == 0
