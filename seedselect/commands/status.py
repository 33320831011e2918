"""`seedselect status`: what is done and what is not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedselect.campaign.campaign import Campaign


HELP = "say what is labelled, pending and failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)
    parser.add_argument("--pending", action="store_true", help="list what is still to be labelled")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def summary(campaign: Campaign) -> str:
    """Return a few lines about a campaign."""
    states = campaign.states()
    manifest = campaign.manifest
    last = manifest.rounds[-1]
    count = {s: sum(v == s for v in states.values()) for s in ("done", "pending", "failed")}
    first = "pool" if "pool" in manifest.inputs else "source"
    rows = sum(manifest.inputs[name or first].rows for name in campaign.pools())
    lines = [
        f"{campaign.directory}: {len(states)} of {rows} {_noun(manifest.kind)} chosen in "
        f"{len(manifest.rounds)} round(s); {count['done']} done, {count['pending']} pending, "
        f"{count['failed']} failed",
        f"  {manifest.duplicates_dropped} duplicates or correlated neighbours were dropped first",
    ]
    if last.method:
        lines.append(f"  round {last.round} by {last.method}: {last.reason}")
    if last.label_share is not None and last.rho2:
        lines.append(
            f"  the source's labels made {last.label_share:.0%} of the expected gain (rho2 "
            f"{last.rho2:.2f})"
        )
    elif last.label_share is not None:
        lines.append("  labels of the source played no part: there are none, or all are equal")
    if last.reliability is not None:
        rank = "" if last.rank is None else f", numerical rank {last.rank}"
        lines.append(f"  reliability of the score {last.reliability:.2f}{rank}")
    lines += [f"  note: {note}" for note in last.notes]
    return "\n".join(lines)


def _noun(kind: str) -> str:
    return "frames" if kind == "frames" else "rows"


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    from seedselect.campaign.campaign import Campaign

    campaign = Campaign.open(args.campaign)
    states = campaign.states()
    if args.json:
        entries = [e.model_dump() | {"state": states[e.key]} for e in campaign.manifest.entries]
        rounds = [r.model_dump() for r in campaign.manifest.rounds]
        return json.dumps({"rounds": rounds, "entries": entries}, indent=1)
    if args.pending:
        waiting = [e for e in campaign.manifest.entries if states[e.key] == "pending"]
        return "\n".join(
            f"{e.key} round {e.round} order {e.order} row {e.pool_row}" for e in waiting
        )
    return summary(campaign)
