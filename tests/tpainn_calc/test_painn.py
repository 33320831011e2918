"""The network: its size, one message worked out by hand, and training through either kernel."""

from __future__ import annotations

import pytest
import torch

from tpainn_calc.graph import Graph
from tpainn_calc.painn import PaiNN
from tpainn_calc.potential import predict
from tpainn_calc.radial import RadialFilter

SILU = torch.nn.functional.silu


def test_published_size():
    network = PaiNN(n_elements=100, n_features=128, n_blocks=3, n_basis=20)
    assert sum(p.numel() for p in network.parameters()) == 589_057


def test_state_holds_weights_only():
    """Tables, knots and radial constants follow from the weights and are not stored."""
    network = PaiNN(4, 8)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


def by_hand(network: PaiNN, species, edges) -> torch.Tensor:
    """PaiNN written out atom by atom and edge by edge from Eqs. 7 to 10 of the paper."""
    n_features = network.n_features
    s = [network.embedding.weight[z] for z in species]
    v = [torch.zeros(3, n_features, dtype=s[0].dtype) for _ in species]
    for block in network.blocks:
        first, _, second = block.message.context
        x = [second.weight @ SILU(first.weight @ si + first.bias) + second.bias for si in s]
        ds = [torch.zeros_like(si) for si in s]
        dv = [torch.zeros_like(vi) for vi in v]
        for i, j, vector in edges:
            r = vector.norm()
            n = torch.arange(1, 21, dtype=r.dtype)
            rbf = torch.sin(n * torch.pi * r / 5.0) / r
            t = r / 5.0
            envelope = 1 - 28 * t**6 + 48 * t**7 - 21 * t**8
            dense = block.message.filter.dense
            w = (dense.weight @ rbf + dense.bias) * envelope
            a, b, c = (w * x[j]).split(n_features)
            ds[i] = ds[i] + a
            dv[i] = dv[i] + torch.outer(vector / r, b) + c * v[j]
        u_matrix, v_matrix = block.update.mix.weight.split(n_features)
        first, _, second = block.update.context
        for i in range(len(s)):
            si, vi = s[i] + ds[i], v[i] + dv[i]
            uv, vv = vi @ u_matrix.T, vi @ v_matrix.T
            hidden = torch.cat([si, torch.sqrt((vv**2).sum(0) + 1e-3)])
            out = second.weight @ SILU(first.weight @ hidden + first.bias) + second.bias
            a_ss, a_vv, a_sv = out.split(n_features)
            s[i] = si + a_ss + a_sv * (uv * vv).sum(0)
            v[i] = vi + a_vv * uv
    first, _, second = network.output
    return torch.cat(
        [second.weight @ SILU(first.weight @ si + first.bias) + second.bias for si in s]
    )


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_against_the_equations(make_potential, kernel):
    """A graph whose edges are not symmetric: a swapped index or sign gives other numbers."""
    network = make_potential(kernel, cutoff=5.0).network
    species = [0, 1, 2, 1]
    generator = torch.Generator().manual_seed(0)
    pairs = [(0, 1), (1, 2), (1, 0), (2, 1), (2, 1), (1, 1), (0, 2)]
    vectors = torch.randn(len(pairs), 3, generator=generator, dtype=torch.float64) * 1.2
    edges = [(i, j, vector) for (i, j), vector in zip(pairs, vectors, strict=True)]
    expected = by_hand(network, species, edges)
    centre, neighbour = torch.tensor(pairs).T
    got = network(torch.tensor(species), centre.contiguous(), neighbour.contiguous(), vectors)
    tolerance = 1e-11 if kernel == "plain" else 1e-5  # the fused network interpolates its filters
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
    reverse = by_hand(network, species, [(j, i, vector) for i, j, vector in edges])
    assert (reverse - expected).abs().max() > 1e-2
    mirrored = by_hand(network, species, [(i, j, e * [1, -1][i == 0]) for i, j, e in edges])
    assert (mirrored - expected).abs().max() > 1e-3


def test_layer_out_of_range(make_potential):
    network = make_potential().network
    edges = network.connect(
        *torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64), 1, 1
    )
    s, v = network.embed(torch.tensor([0]))
    for k in (-1, 3):
        with pytest.raises(IndexError, match="no such block"):
            network.layer(k, s, v, edges)


# ---------------------------------------------------------------------- training


def force_loss_gradients(potential, graph) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss on energy, forces and virial, and its gradient in every weight."""
    result = predict(potential, graph, virial=True, create_graph=True)
    loss = (result.energy**2).sum() * 1e-8
    loss = loss + ((result.forces - 0.3) ** 2).mean() + (result.virial**2).mean()
    names, weights = zip(*potential.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    zeros = (
        torch.zeros_like(w) if g is None else g for g, w in zip(gradients, weights, strict=True)
    )
    found = dict(zip(names, zeros, strict=True))
    # cancels against the isolated atom: no gradient but rounding
    bias = found.pop("network.output.2.bias")
    assert bias.abs().max() <= 1e-4 * max(g.abs().max() for g in found.values())
    return loss.item(), found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 2e-3)])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_training_through_the_fused_operator(
    make_potential, cluster, crystal, dtype, tolerance, mode
):
    """Weight gradients of a loss on forces are those of plain PyTorch."""
    losses, gradients = [], []
    for kernel in ("plain", "fused"):
        potential = make_potential(kernel, dtype)
        potential.train()  # drops the fixed tables
        if mode == "eval":  # validation between epochs must not fix them again
            potential.eval()
        graph = Graph.batch(
            [
                Graph.from_atoms(atoms, potential.elements, potential.cutoff)
                for atoms in (cluster(), crystal("small"))
            ]
        )
        loss, gradient = force_loss_gradients(potential, graph)
        losses.append(loss)
        gradients.append(gradient)
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    plain, fused = (torch.cat([g.flatten() for g in gs.values()]) for gs in gradients)
    assert (fused - plain).norm() <= tolerance * plain.norm()
    for name, exact in gradients[0].items():  # tensor by tensor, small ones among them
        error = (gradients[1][name] - exact).norm() / (exact.norm() + 1e-30)
        assert error <= 3 * tolerance, name
    moved = [name for name, g in gradients[1].items() if g.abs().max() > 0]
    assert any("filter.dense.weight" in name for name in moved)
    assert any("embedding" in name for name in moved)


@pytest.mark.usefixtures("fused")
def test_tables_follow_the_weights(make_potential):
    potential = make_potential("fused")
    messages = [block.message for block in potential.network.blocks]
    assert all(message.table.shape == (515, 96) for message in messages)
    potential.train()
    assert all(message.table.numel() == 0 for message in messages)
    species = torch.tensor([0, 1])
    edges = torch.tensor([0, 1]), torch.tensor([1, 0])
    vectors = torch.tensor([[1.0, 0.2, 0], [-1.0, -0.2, 0]], dtype=torch.float64)
    before = potential(species, *edges, vectors)
    with torch.no_grad():
        messages[0].filter.dense.weight.mul_(1.5)
    assert (potential(species, *edges, vectors) - before).abs().max() > 1e-6
    potential.freeze()
    after = potential(species, *edges, vectors)
    potential.train()
    torch.testing.assert_close(potential(species, *edges, vectors), after)


@pytest.mark.usefixtures("fused")
def test_only_the_tables_part_the_kernels(make_potential, cluster):
    """With four times the intervals the gradients of training come closer: fourth-order tables."""
    plain, fused = make_potential("plain"), make_potential("fused")
    graph = Graph.from_atoms(cluster(), plain.elements, plain.cutoff)
    _, exact = force_loss_gradients(plain.train(), graph)
    fused.train()
    errors = []
    for intervals in (512, 2048):
        for block in fused.network.blocks:
            fine = RadialFilter(fused.network.radial, 1, intervals)
            block.message.filter.knots = fine.knots
        _, got = force_loss_gradients(fused, graph)
        errors.append(max((got[k] - exact[k]).norm() / (exact[k].norm() + 1e-30) for k in exact))
    assert errors[1] < 1e-6
    assert errors[1] < errors[0] / 20
