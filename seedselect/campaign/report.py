"""Report of a campaign: the places of the chosen points, and their worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from seedselect.campaign.campaign import Campaign
from seedselect.campaign.inputs import Inputs, fit_design
from seedselect.campaign.rounds import points as points_of
from seedselect.campaign.rounds import source_pairs
from seedselect.kernel.features import column_scale
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.files import replacing
from tpainn_calc.base.records import write_record

#: Pool rows that are drawn and over which coverage is measured.
SAMPLE = 5000


def summarise(campaign: Campaign, inputs: Inputs) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the numbers of a report and the arrays of its figure.

    Coverage is the distance of a pool row to the nearest chosen one, in units of the median
    distance to the pool's mean (standardised descriptors); "before" is the first round alone.
    """
    rows = inputs.rows()
    sample = np.unique(np.linspace(0, rows.n - 1, min(SAMPLE, rows.n)).astype(np.intp))
    X = rows.take(sample)
    mean, scale, varies = column_scale(X)
    cloud = ((X - mean) / scale)[:, varies]
    entries = campaign.manifest.entries
    chosen = points_of(campaign, entries, inputs)
    points = ((chosen - mean) / scale)[:, varies]
    _, _, axes = np.linalg.svd(cloud - cloud.mean(axis=0), full_matrices=False)
    plane = axes[:2] if len(axes) > 1 else np.vstack([axes, np.zeros_like(axes)])
    unit = float(np.median(np.linalg.norm(cloud, axis=1))) or 1.0
    rounds = np.array([e.round for e in entries])
    centre = cloud[[int(np.argmin((cloud**2).sum(axis=1)))]]
    states = campaign.states()
    done = np.array([states[e.key] == "done" for e in entries])
    stages = {"one typical row": centre, "all chosen": points}
    if done.any():
        stages["labelled"] = points[done]
    if rounds.max() > 1:
        stages["before the last round"] = points[rounds < rounds.max()]
    distances = {
        name: np.asarray(cKDTree(part).query(cloud)[0]) / unit for name, part in stages.items()
    }
    targets = inputs.pool.targets
    counts = {s: list(states.values()).count(s) for s in ("done", "pending", "failed")}
    numbers = {
        "rows": {"pool": inputs.pool.n, "kept": len(inputs.kept), **counts},
        "rounds": [r.model_dump() for r in campaign.manifest.rounds],
        "coverage": {
            name: {
                "mean": float(d.mean()),
                "p95": float(np.quantile(d, 0.95)),
                "max": float(d.max()),
            }
            for name, d in distances.items()
        },
        "information_per_label_nats": {
            str(r): float(np.mean([e.information for e in entries if e.round == r]))
            for r in sorted(set(rounds.tolist()))
        },
        "reliability": campaign.manifest.rounds[-1].reliability,
        "labels": label_part(campaign, inputs),
        "cost": float(sum(e.cost for e in entries)),
    }
    arrays = {
        "pool": cloud @ plane.T,
        "chosen": points @ plane.T,
        "round": rounds,
        "information": np.array([e.information for e in entries]),
        **{f"coverage {name}": d for name, d in distances.items()},
    }
    if targets is not None:
        kept = targets[inputs.kept, 0]
        arrays["energy pool"] = kept[np.isfinite(kept)]
        mine = targets[[e.pool_row for e in entries if not e.pool], 0]
        arrays["energy chosen"] = mine[np.isfinite(mine)]
    return numbers, arrays


def label_part(campaign: Campaign, inputs: Inputs) -> dict[str, Any]:
    """Return which part the source's labels played.

    Returns
    -------
    dict
        ``rounds``: method, rho2 and share of the expected gain of each round; ``correlation``:
        Pearson's r between the source's labels and those that came in, by target; ``pairs``: of
        how many rows.
    """
    part: dict[str, Any] = {
        "rounds": [
            {"method": r.method, "rho2": r.rho2, "label_share": r.label_share}
            for r in campaign.manifest.rounds
        ],
        "pairs": 0,
        "correlation": {},
    }
    if inputs.source.targets is None:
        return part
    design, _ = fit_design(inputs, campaign.settings)
    cheap, labels, names = source_pairs(campaign, inputs, design)
    part["pairs"] = len(cheap)
    for column, name in enumerate(names):
        pair = cheap[:, column], labels[:, column]
        if len(cheap) > 2 and all(np.ptp(values) > 0 for values in pair):
            part["correlation"][name] = float(np.corrcoef(*pair)[0, 1])
    return part


def write_report(campaign: Campaign, inputs: Inputs) -> dict[str, Any]:
    """Write ``report.json`` and ``report.png``; return the numbers."""
    numbers, arrays = summarise(campaign, inputs)
    name = inputs.pool.target_names[0] if inputs.pool.target_names else "label"
    per_atom = inputs.pool.kind == "frames" and name == "energy"
    units = (" / (eV/atom)", " / (atom/eV)") if per_atom else ("", "")
    labels = f"source {name}{units[0]}", f"probability density{units[1]}"
    _draw(campaign.directory / "report.png", numbers, arrays, labels)
    write_record(campaign.directory / "report.json", numbers)
    return numbers


def _draw(
    path: Path, numbers: dict[str, Any], arrays: dict[str, Array], target: tuple[str, str]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    ((where, energy), (coverage, worth)) = figure.subplots(2, 2)
    where.scatter(*arrays["pool"].T, s=6, c="0.75", label="pool", linewidths=0)
    for number in sorted(set(arrays["round"].tolist())):
        mine = arrays["round"] == number
        where.scatter(
            *arrays["chosen"][mine].T, s=22, label=f"round {number}", edgecolors="k", lw=0.4
        )
    where.set(xlabel="first component", ylabel="second component", title="where the points lie")
    where.legend(frameon=False, fontsize=8)
    if len(arrays.get("energy pool", [])) and len(arrays["energy chosen"]):
        edges = np.histogram_bin_edges(arrays["energy pool"], bins=25)
        energy.hist(arrays["energy pool"], edges, density=True, color="0.75", label="pool")
        energy.hist(
            arrays["energy chosen"], edges, density=True, histtype="step", lw=1.5, label="chosen"
        )
        energy.legend(frameon=False, fontsize=8)
    else:
        energy.text(0.5, 0.5, "the pool has no labels", ha="center", transform=energy.transAxes)
    energy.locator_params(axis="x", nbins=5)
    energy.set(xlabel=target[0], ylabel=target[1], title="what they are")
    for name, values in arrays.items():
        if name.startswith("coverage "):
            ordered = np.sort(values)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            coverage.plot(ordered, share, label=name.removeprefix("coverage "))
    coverage.set(
        xlabel="distance to the nearest chosen point\n/ median distance to the mean",
        ylabel="share of the pool",
        title="coverage before and after",
    )
    coverage.legend(frameon=False, fontsize=8, title="known:", title_fontsize=8)
    worth.plot(np.arange(1, len(arrays["information"]) + 1), arrays["information"], ".-", ms=4)
    worth.set(
        xlabel="label",
        ylabel="expected information / nats",
        title=f"worth of each label{_reliability(numbers['reliability'])}",
        ylim=(0, None),
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _reliability(value: float | None) -> str:
    return "" if value is None else f" (reliability of the score {value:.2f})"
