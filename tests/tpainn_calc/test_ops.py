"""The fused operator ``tpainn::message`` computes what a few lines of PyTorch compute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import Tensor

from tpainn_calc import ops
from tpainn_calc.modelfile import save_model

pytestmark = pytest.mark.usefixtures("fused")

CUTOFF = 5.0
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
GRAPHS = ["random", "no edges", "one edge", "isolated atoms", "500 neighbours", "more nodes"]


def make_graph(kind: str) -> tuple[int, int, Tensor, Tensor, Tensor]:
    """Return n_centre, n_node, centre, neighbour, edge_vec; edges in random order.

    Some edges are longer than the cut-off, as in a list with a skin.
    """
    g = torch.Generator().manual_seed(GRAPHS.index(kind))
    n_centre, n_node, n_edges = {
        "random": (12, 12, 150),
        "no edges": (5, 5, 0),
        "one edge": (4, 4, 1),
        "isolated atoms": (40, 40, 60),
        "500 neighbours": (8, 8, 520),
        "more nodes": (7, 15, 120),  # ghosts send messages and receive none
    }[kind]
    centre = torch.randint(0, n_centre, (n_edges,), generator=g)
    neighbour = torch.randint(0, n_node, (n_edges,), generator=g)
    if kind == "500 neighbours":
        centre[:500] = 3
    if kind == "isolated atoms":  # first and last atom among them
        centre, neighbour = centre % 20 + 10, neighbour % 20 + 10
    direction = torch.randn(n_edges, 3, generator=g, dtype=torch.float64)
    direction /= direction.norm(dim=1, keepdim=True)
    length = torch.rand(n_edges, 1, generator=g, dtype=torch.float64) * 5.2 + 0.3
    return n_centre, n_node, centre, neighbour, direction * length


def compressed(centre: Tensor, neighbour: Tensor, n_centre: int, n_node: int) -> list[Tensor]:
    return [
        centre,
        neighbour,
        *torch.ops.tpainn.compress(centre, n_centre),
        *torch.ops.tpainn.compress(neighbour, n_node),
    ]


def spline(table: Tensor, r: Tensor) -> Tensor:
    """Uniform cubic B-splines on [0, CUTOFF] at distances (edges,); zero from the cut-off on."""
    intervals = table.size(0) - 3
    position = r * (intervals / CUTOFF)
    k = position.detach().floor().clamp(0, intervals - 1)
    t = (position - k).to(table.dtype).unsqueeze(1)
    row = k.to(torch.int64)
    s = 1.0 - t
    value = (
        s**3 * table[row]
        + (3.0 * t**3 - 6.0 * t**2 + 4.0) * table[row + 1]
        + (3.0 * s**3 - 6.0 * s**2 + 4.0) * table[row + 2]
        + t**3 * table[row + 3]
    ) / 6.0
    return torch.where((r < CUTOFF).unsqueeze(1), value, torch.zeros_like(value))


def reference(
    x: Tensor, v: Tensor | None, edge_vec: Tensor, table: Tensor, index: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """PaiNN's message (arXiv 2102.03150, Eqs. 7 and 8) with tabulated filters."""
    centre, neighbour, n_centre = index[0], index[1], index[2].numel() - 1
    r = edge_vec.norm(dim=1)
    unit = (edge_vec / r[:, None]).to(x.dtype)
    a, b, c = (spline(table, r) * x[neighbour]).chunk(3, dim=1)
    vector = unit[:, :, None] * b[:, None, :]
    if v is not None:
        vector = vector + c[:, None, :] * v[neighbour]
    n_features = x.size(1) // 3
    ds = x.new_zeros(n_centre, n_features).index_add(0, centre, a)
    dv = x.new_zeros(n_centre, 3, n_features).index_add(0, centre, vector)
    return ds, dv


def message(
    x: Tensor, v: Tensor | None, edge_vec: Tensor, table: Tensor, index: list[Tensor]
) -> tuple[Tensor, Tensor]:
    return torch.ops.tpainn.message(x, v, edge_vec, table, CUTOFF, index)


def make_inputs(
    n_node: int, n_features: int, dtype: torch.dtype, intervals: int = 64
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, v and a table that ends at zero, as filters do, all requiring gradients."""
    g = torch.Generator().manual_seed(n_features)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    table = randn(intervals + 3, 3 * n_features)
    table[-3:] = 0
    tensors = (randn(n_node, 3 * n_features), randn(n_node, 3, n_features), table)
    return tuple(t.to(dtype).requires_grad_() for t in tensors)  # type: ignore[return-value]


def assert_same(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Agreement relative to the largest number of the tensor."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    if wanted.numel():
        amplitude = wanted.abs().max().item()
        assert (got - wanted).abs().max().item() <= tolerance * max(amplitude, 1e-30)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("with_v", [True, False])
@pytest.mark.parametrize("n_features", [4, 20, 32, 64, 96, 128, 256])
@pytest.mark.parametrize("kind", GRAPHS)
def test_values_and_gradients(kind, n_features, with_v, dtype):
    n_centre, n_node, centre, neighbour, edge_vec = make_graph(kind)
    index = compressed(centre, neighbour, n_centre, n_node)
    x, v, table = make_inputs(n_node, n_features, dtype)
    edge_vec.requires_grad_()
    inputs = [x, edge_vec, table] + ([v] if with_v else [])
    results = []
    for function in (message, reference):
        ds, dv = function(x, v if with_v else None, edge_vec, table, index)
        g = torch.Generator().manual_seed(5)
        weights = [torch.randn(t.shape, generator=g, dtype=torch.float64) for t in (ds, dv)]
        objective = sum((t * w.to(t.dtype)).sum() for t, w in zip((ds, dv), weights, strict=True))
        results.append([ds, dv, *torch.autograd.grad(objective, inputs)])
    for got, wanted in zip(*results, strict=True):
        assert_same(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("with_v", [True, False])
@pytest.mark.parametrize("n_features", [4, 64])
def test_second_derivatives_equal_those_of_pytorch(n_features, with_v):
    """The gradient of a function of the gradient, which a loss on forces needs."""
    n_centre, n_node, centre, neighbour, edge_vec = make_graph("random")
    index = compressed(centre, neighbour, n_centre, n_node)
    x, v, table = make_inputs(n_node, n_features, torch.float64)
    edge_vec.requires_grad_()
    inputs = [x, edge_vec, table] + ([v] if with_v else [])
    results = []
    for function in (message, reference):
        ds, dv = function(x, v if with_v else None, edge_vec, table, index)
        energy = ds.square().sum() + torch.sin(dv).sum()
        gradients = torch.autograd.grad(energy, inputs[:2] + inputs[3:], create_graph=True)
        loss = sum(torch.tanh(0.01 * g).square().sum() for g in gradients)
        results.append(torch.autograd.grad(loss, inputs))
    for got, wanted in zip(*results, strict=True):
        assert_same(got, wanted, 1e-10)


@pytest.fixture
def tiny():
    """Inputs that are small enough for derivatives by finite differences."""
    g = torch.Generator().manual_seed(0)
    n, edges, n_features = 6, 25, 4
    centre, neighbour = (torch.randint(0, n, (edges,), generator=g) for _ in range(2))

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    tensors = {
        "x": randn(n, 3 * n_features),
        "v": randn(n, 3, n_features),
        "edge_vec": 1.5 * randn(edges, 3),
        "table": randn(11, 3 * n_features),
        "hs": randn(n, n_features),
        "hv": randn(n, 3, n_features),
    }
    for tensor in tensors.values():
        tensor.requires_grad_()
    return compressed(centre, neighbour, n, n), tensors


def test_gradcheck_of_message(tiny):
    index, t = tiny
    assert torch.autograd.gradcheck(
        lambda x, v, e, table: message(x, v, e, table, index),
        (t["x"], t["v"], t["edge_vec"], t["table"]),
    )
    assert torch.autograd.gradcheck(
        lambda x, e, table: message(x, None, e, table, index),
        (t["x"], t["edge_vec"], t["table"]),
    )


def test_gradcheck_of_backward(tiny):
    """Second derivatives, with respect to the edge vectors too."""
    index, t = tiny

    def gradient(x, v, e, table, hs, hv):
        return torch.autograd.grad(
            message(x, v, e, table, index), [x, v, e], [hs, hv], create_graph=True
        )

    def gradient_without_v(x, e, table, hs, hv):
        return torch.autograd.grad(
            message(x, None, e, table, index), [x, e], [hs, hv], create_graph=True
        )

    names = ("x", "v", "edge_vec", "table", "hs", "hv")
    assert torch.autograd.gradcheck(gradient, [t[k] for k in names])
    without_v = [t[k] for k in names if k != "v"]
    assert torch.autograd.gradcheck(gradient_without_v, without_v)


def test_compress_is_a_stable_sort():
    key = torch.tensor([3, 0, 3, 1, 0, 3])
    start, order = torch.ops.tpainn.compress(key, 5)
    assert start.tolist() == [0, 2, 3, 3, 6, 6]
    assert order.tolist() == torch.argsort(key, stable=True).tolist()
    start, order = torch.ops.tpainn.compress(key[:0], 2)
    assert start.tolist() == [0, 0, 0]
    assert order.numel() == 0
    # not contiguous
    start, order = torch.ops.tpainn.compress(torch.stack([key, key], dim=1)[:, 0], 5)
    assert order.tolist() == [1, 4, 3, 0, 2, 5]


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_compress_refuses_indices_outside(bad):
    with pytest.raises(IndexError, match=rf"index {bad} is outside 0\.\.4"):
        torch.ops.tpainn.compress(torch.tensor([0, bad, 1]), 5)


def test_compress_refuses_other_types():
    for key in (torch.tensor([0, 1], dtype=torch.int32), torch.zeros(2, 2, dtype=torch.int64)):
        with pytest.raises(RuntimeError, match=r"key must be int64 \(edges,\)"):
            torch.ops.tpainn.compress(key, 5)


def test_wrong_shapes_and_types_are_refused(tiny):
    index, t = tiny
    x, v, e, table = (t[k].detach() for k in ("x", "v", "edge_vec", "table"))
    for arguments, complaint in [
        ((x[:-1], v, e, table, index), "x must be"),
        ((x, v[:, :2], e, table, index), "v must be"),
        ((x, v.float(), e, table, index), "v must be"),
        ((x, v, e.float(), table, index), "edge_vec must be"),
        ((x, v, e[:-1], table, index), "edge_vec must be"),
        ((x, v, e, table[:, :-1], index), "table must be"),
        ((x, v, e, table.float(), index), "table must be"),
        ((x, v, e, table, index[:4]), "expected 6 index tensors"),
        ((x, v, e, table, [i.int() for i in index]), "contiguous int64"),
    ]:
        with pytest.raises(RuntimeError, match=complaint):
            message(*arguments)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_numbers_from_run_to_run(threads):
    n, edges, n_features = 300, 12_000, 64
    g = torch.Generator().manual_seed(0)
    centre, neighbour = (torch.randint(0, n, (edges,), generator=g) for _ in range(2))
    index = compressed(centre, neighbour, n, n)
    edge_vec = 2.0 * torch.randn(edges, 3, generator=g, dtype=torch.float64)
    edge_vec.requires_grad_()
    x, v, table = make_inputs(n, n_features, torch.float32)

    def run() -> tuple[Tensor, ...]:
        ds, dv = message(x, v, edge_vec, table, index)
        energy = ds.square().sum() + dv.square().sum()
        first = torch.autograd.grad(energy, [x, v, edge_vec, table], create_graph=True)
        second = torch.autograd.grad(first[2].square().sum(), [x, v, edge_vec, table])
        return ds, dv, *first, *second

    torch.set_num_threads(threads)
    runs = [run() for _ in range(4)]
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow(tiny):
    """10,000 calls with first and second derivatives; one lost tensor a call would be 8 MiB."""
    index, t = tiny

    def call() -> None:
        ds, dv = message(t["x"], t["v"], t["edge_vec"], t["table"], index)
        energy = ds.square().sum() + dv.square().sum()
        (force,) = torch.autograd.grad(energy, t["edge_vec"], create_graph=True)
        torch.autograd.grad(force.square().sum(), t["x"])
        torch.ops.tpainn.compress(index[0], 6)

    for _ in range(1000):
        call()
    before = resident_kib()
    for _ in range(10_000):
        call()
    assert resident_kib() - before < 2048


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_without_a_compiler_plain_pytorch_is_used(tmp_path, make_potential):
    model = tmp_path / "model.safetensors"
    save_model(model, make_potential(n_features=8))
    code = f"""
import logging
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from tpainn_calc.modelfile import load_model
for _ in range(2):
    potential, _ = load_model({str(model)!r}, kernel="auto")
print(potential.network.fused)
try:
    load_model({str(model)!r}, kernel="fused")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = run_python(code, CXX="/nonexistent", TPAINN_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("WARNING tpainn_calc.ops ")
    assert "plain PyTorch" in lines[0]
    assert "/nonexistent" in lines[0]
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert second.startswith("ModelFileError kernel 'fused' could not be compiled")


@pytest.mark.skipif(
    "avx" not in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""),
    reason="not an x86-64 processor with vector extensions",
)
def test_generic_build_gives_the_same_numbers(tmp_path):
    """Compiles the operator once more, without AVX: the slowest test of this folder."""
    code = """
import torch
from ase.build import molecule
from tpainn_calc import ops
assert ops.load()
x, v, e, table, *index = torch.load(FILE)
x, v, e, table = (t.requires_grad_() for t in (x, v, e, table))
ds, dv = torch.ops.tpainn.message(x, v, e, table, 5.0, index)
energy = ds.square().sum() + dv.square().sum()
first = torch.autograd.grad(energy, [x, v, e, table], create_graph=True)
second = torch.autograd.grad(first[2].square().sum(), [x, v, e, table])
torch.save([t.detach() for t in (ds, dv, *first, *second)], OUT)
"""
    n_centre, n_node, centre, neighbour, edge_vec = make_graph("random")
    x, v, table = (t.detach() for t in make_inputs(n_node, 96, torch.float64))
    index = compressed(centre, neighbour, n_centre, n_node)
    source, target = tmp_path / "in.pt", tmp_path / "out.pt"
    torch.save([x, v, edge_vec, table, *index], source)
    results = []
    cache = str(tmp_path / "cache")
    for environment in ({}, {"TPAINN_MARCH": "x86-64", "TPAINN_CACHE": cache}):
        constants = f"FILE, OUT = {str(source)!r}, {str(target)!r}\n"
        done = run_python(constants + code, **environment)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(target))
    log = next(Path(cache).glob("*/build.log")).read_text()
    assert "-march=x86-64 " in log
    assert "-march=native" not in log
    for native, generic in zip(*results, strict=True):
        assert_same(generic, native, 1e-11)


def test_library_is_loaded_once():
    assert ops.load() is True
    assert ops.ops_library(build=False).is_file()


def test_edges_within_equal_those_of_the_neighbour_list():
    from tpainn_calc.neighbors import NeighborList

    atoms = molecule("C60")
    atoms.set_cell([9.0, 9.5, 10.0])
    atoms.pbc = [True, True, False]
    pairs = NeighborList(4.0, skin=1.0)
    pairs.update(atoms)
    atoms.rattle(0.1, seed=0)
    expected, k = pairs.update(atoms), pairs.candidates
    assert pairs.rebuilds == 1
    arrays = (atoms.positions, k.centre, k.neighbour, k.offset)
    centre, neighbour, vec, closest, squared = torch.ops.tpainn.edges_within(
        *map(torch.from_numpy, arrays), 4.0
    )
    np.testing.assert_array_equal(centre, expected.centre)
    np.testing.assert_array_equal(neighbour, expected.neighbour)
    np.testing.assert_allclose(vec, expected.edge_vec, atol=1e-12)
    lengths = np.linalg.norm(expected.edge_vec, axis=1)
    assert squared == pytest.approx(lengths.min() ** 2)
    i, j = k.centre[closest], k.neighbour[closest]
    assert atoms.get_distance(i, j, mic=True) == pytest.approx(lengths.min())
