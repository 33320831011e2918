"""Report of a loop: a table, figures and a page."""

from __future__ import annotations

import html
from collections import defaultdict
from pathlib import Path
from typing import Any

from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.tables import write_table
from training.fit.parity import COLOURS
from training.loop.config import LoopConfig

#: Stages of a round, in their order; members and runs are added up.
STAGES = ("classical", "pretrain", "pick", "label", "tune", "md", "test")

Records = dict[str, dict[str, Any]]


def write_report(root: Path, config: LoopConfig, records: Records, why: str | None) -> None:
    """Write ``rounds.csv``, ``loop.png`` and ``report.html``.

    Parameters
    ----------
    root : Path
        Folder of the loop.
    config : LoopConfig
    records : dict
        Records of the stages that are done, by name.
    why : str, optional
        Why the loop ended, if it has.
    """
    rows = rounds_table(records)
    times = stage_times(records)
    write_table(root / "rounds.csv", rows)
    _draw(root / "loop.png", rows, records, times, config)
    write_atomically(root / "report.html", _page(config, rows, times, why).encode())


def rounds_table(records: Records) -> list[dict[str, Any]]:
    """A row per round; the first, without labels, is the pretrained committee."""
    rows: list[dict[str, Any]] = []
    before = records.get("pretrained/test")
    if before is not None:
        rows.append({"round": "pretrained", "labels": 0, **_errors(before["results"])})
        # at another level of theory: energies have another zero
        rows[0].pop("energy_mae_meV_per_atom")
    for number in sorted({name.split("/")[0] for name in records if name.startswith("round-")}):
        found = {name.split("/")[1]: r["results"] for name, r in records.items() if number in name}
        if not {"label", "test", "md"} <= set(found):
            continue
        label, test, md = found["label"], found["test"], found["md"]
        row = {
            "round": int(number.removeprefix("round-")),
            "labels": label["labels"],
            "new": label["new"],
            "failed": label["failed"],
            **_errors(test),
            "deviation_test_eV_per_A": test["deviation"],
            "deviation_md_eV_per_A": md["deviation"],
            "md_frames": md["frames"],
            "md_ended_early": md["ended_early"],
        }
        if "picks" in test:
            row["forces_mae_on_picks_before_meV_per_A"] = test["picks"]["forces_meV_per_A_mae"]
        rows.append(row)
    return rows


def _errors(summary: dict[str, Any]) -> dict[str, float]:
    return {
        "forces_mae_meV_per_A": summary["forces_meV_per_A_mae"],
        "forces_rmse_meV_per_A": summary["forces_meV_per_A_rmse"],
        "energy_mae_meV_per_atom": summary["energy_meV_per_atom_mae"],
    }


def stage_times(records: Records) -> dict[str, dict[str, float]]:
    """Wall time in seconds by round and stage; before the first round is ``"before"``."""
    times: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, record in records.items():
        folder, _, stage = name.rpartition("/")
        kind = stage.split("-")[0]
        if stage == "test-labels":
            kind = "label"
        times[folder if folder.startswith("round-") else "before"][kind] += record["seconds"]
    return {folder: dict(found) for folder, found in times.items()}


def _draw(
    path: Path,
    rows: list[dict[str, Any]],
    records: Records,
    times: dict[str, dict[str, float]],
    config: LoopConfig,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 7.6), layout="constrained")
    (errors, deviation), (honest, cost) = figure.subplots(2, 2)
    _draw_errors(errors, rows)
    _draw_deviation(deviation, records, config)
    _draw_honesty(honest, records)
    _draw_times(cost, times)
    temporary = path.with_name(f".{path.name}.tmp.png")
    figure.savefig(temporary, dpi=120)
    temporary.replace(path)


def _plain_logarithms(axes: Any, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes that read 0.05, 0.1, 0.2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for wanted, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if wanted:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def _draw_errors(axes: Any, rows: list[dict[str, Any]]) -> None:
    labels = [row["labels"] for row in rows]
    for column, style, text in (
        ("forces_mae_meV_per_A", "o-", "MAE"),
        ("forces_rmse_meV_per_A", "s--", "RMSE"),
    ):
        axes.plot(labels, [row[column] for row in rows], style, color=COLOURS[0], label=text)
    tuned = [row for row in rows if row["round"] != "pretrained"]
    axes.plot(
        [row["labels"] for row in tuned],
        [1e3 * row["deviation_test_eV_per_A"] for row in tuned],
        "^:",
        color=COLOURS[1],
        label="largest deviation in a frame",
    )
    for row in rows:
        name = "pretrained" if row["round"] == "pretrained" else f"round {row['round']}"
        axes.annotate(
            name,
            (row["labels"], row["forces_mae_meV_per_A"]),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set(
        xlabel="labels spent",
        ylabel="force error, committee deviation / (meV/Å)",
        title="test frames",
    )
    _plain_logarithms(axes, y=True)
    axes.margins(x=0.15)
    axes.legend(frameon=False, fontsize=8)


def _draw_deviation(axes: Any, records: Records, config: LoopConfig) -> None:
    for k, (name, record) in enumerate(_of_rounds(records, "md")):
        values = sorted(record["deviations"])
        share = [(i + 1) / len(values) for i in range(len(values))]
        axes.plot(values, share, color=COLOURS[k % len(COLOURS)], label=name)
    if config.stop.deviation:
        axes.axvline(
            config.stop.deviation, color="0.5", ls="--", lw=1, label="stop: mean below this"
        )
    axes.set(
        xlabel="largest force deviation in a frame / (eV/Å)",
        ylabel="share of the frames",
        title="MD with the committee",
        ylim=(0, 1),
    )
    _plain_logarithms(axes, x=True)
    axes.legend(frameon=False, fontsize=8)


def _draw_honesty(axes: Any, records: Records) -> None:
    found = [(name, r["picks"]) for name, r in _of_rounds(records, "test") if "picks" in r]
    for k, (name, picks) in enumerate(found, start=1):
        axes.plot(
            picks["deviation"],
            picks["error"],
            "o",
            ms=4,
            alpha=0.8,
            color=COLOURS[k % len(COLOURS)],
            label=f"picks of {name}",
        )
    if found:
        everything = [x for _, p in found for x in (*p["deviation"], *p["error"])]
        ends = [0.8 * min(everything), 1.2 * max(everything)]
        axes.plot(ends, ends, color="0.6", lw=1)
        _plain_logarithms(axes, x=True, y=True)
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "from round 1 on", ha="center", transform=axes.transAxes)
    axes.set(
        xlabel="largest deviation in a frame / (eV/Å)",
        ylabel="largest force error in it / (eV/Å)",
        title="picks, before they were trained on",
    )


def _draw_times(axes: Any, times: dict[str, dict[str, float]]) -> None:
    folders = sorted(times, key=lambda name: (name != "before", name))
    bottom = [0.0] * len(folders)
    for stage, colour in zip(STAGES, (*COLOURS, "#c9a0dc"), strict=True):
        values = [times[folder].get(stage, 0.0) / 60 for folder in folders]
        if any(values):
            axes.bar(folders, values, bottom=bottom, color=colour, label=stage, width=0.6)
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    axes.set(ylabel="wall time / min", title="what it cost")
    axes.tick_params(axis="x", labelsize=8, rotation=30 if len(folders) > 5 else 0)
    # beside the bars: they may be of any height
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _of_rounds(records: Records, stage: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"round {int(name.split('/')[0].removeprefix('round-'))}", record["results"])
        for name, record in sorted(records.items())
        if name.startswith("round-") and name.endswith(f"/{stage}")
    ]


COLUMNS = {
    "round": "round",
    "labels": "labels",
    "failed": "failed",
    "forces_mae_meV_per_A": "force MAE, meV/Å",
    "forces_rmse_meV_per_A": "force RMSE, meV/Å",
    "energy_mae_meV_per_atom": "energy MAE, meV/atom",
    "forces_mae_on_picks_before_meV_per_A": "force MAE on the picks before training, meV/Å",
    "deviation_md_eV_per_A": "deviation in MD, eV/Å",
    "md_ended_early": "trajectories ended early",
}


def describe(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    lines = [
        f"{'round':>10s} {'labels':>7s} {'force MAE':>10s} {'RMSE':>8s} {'deviation in MD':>16s}"
    ]
    lines.append(f"{'':>10s} {'':>7s} {'meV/Å':>10s} {'meV/Å':>8s} {'eV/Å':>16s}")
    for row in rows:
        spread = row.get("deviation_md_eV_per_A")
        name = row["round"] if row["round"] == "pretrained" else f"{int(row['round'])}"
        lines.append(
            f"{name:>10s} {int(row['labels']):7d} {row['forces_mae_meV_per_A']:10.1f} "
            f"{row['forces_rmse_meV_per_A']:8.1f} {'' if spread is None else f'{spread:.3f}':>16s}"
        )
    return "\n".join(lines)


def _page(
    config: LoopConfig,
    rows: list[dict[str, Any]],
    times: dict[str, dict[str, float]],
    why: str | None,
) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(key))}</td>" for key in COLUMNS) + "</tr>"
        for row in rows
    )
    folders = sorted(times, key=lambda name: (name != "before", name))
    used = [s for s in STAGES if any(s in times[f] for f in folders)]
    time_head = "".join(f"<th>{stage}, s</th>" for stage in used)
    time_body = "".join(
        f"<tr><td>{folder}</td>"
        + "".join(f"<td>{times[folder].get(stage, 0.0):.1f}</td>" for stage in used)
        + f"<td>{sum(times[folder].values()):.1f}</td></tr>"
        for folder in folders
    )
    total = sum(sum(t.values()) for t in times.values())
    state = f"Stopped: {html.escape(why)}." if why else "Under way."
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(config.name)}: the loop</title>
<style>body{{font-family:sans-serif;max-width:62em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse;margin:1em 0}}td,th{{padding:.25em .7em;text-align:right;
border-bottom:1px solid #ddd}}th{{font-weight:600}}img{{max-width:100%}}</style></head><body>
<h1>{html.escape(config.name)}: the closed loop</h1>
<p>{state} {len(rows)} rows; a committee of {config.committee.size};
{total / 60:.1f} min in all.</p>
<img src="loop.png" alt="errors, deviations, their relation, wall time">
<h2>Rounds</h2>
<p>Errors of the committee's mean on test frames that are never trained on and stop nothing;
deviations are means over frames of the largest one in a frame.</p>
<table><tr>{head}</tr>{body}</table>
<h2>Wall time</h2>
<p>Of the process that finished a stage; time before a kill is not counted.</p>
<table><tr><th></th>{time_head}<th>sum, s</th></tr>{time_body}</table>
</body></html>
"""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 10
        else (f"{value:.1f}" if isinstance(value, float) else html.escape(str(value)))
    )
