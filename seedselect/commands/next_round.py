"""`seedselect next`: choose more, knowing what is done and what is on its way."""

from __future__ import annotations

import argparse
from pathlib import Path

from seedselect.campaign import Campaign, choose_next
from seedselect.campaign.campaign import ENOUGH_LABELS
from seedselect.commands.status import summary
from seedselect.estimate import estimate

HELP = f"choose another round (judged by the labels once there are {ENOUGH_LABELS})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)
    parser.add_argument("-n", type=int, help="how many to choose")
    parser.add_argument("--budget", type=float, help="total cost of this round")
    parser.add_argument("--pool", type=Path, help="choose from these frames, not from the pool")
    parser.add_argument("--quality-key", help="worth of each frame of --pool, in its comment line")
    parser.add_argument("--round", type=int, help="do nothing if this round is there already")
    parser.add_argument("--dry-run", action="store_true", help="print time and memory, do nothing")


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    if args.dry_run:
        campaign = Campaign.open(args.campaign)
        pool = args.pool
        if pool is None and "pool" in campaign.manifest.inputs:
            pool = campaign.input_path("pool")
        lines = estimate(campaign.input_path("source"), pool, campaign.settings).lines()
        return "\n".join(["dry run: nothing is written", *lines])
    chosen = choose_next(
        args.campaign,
        args.n,
        budget=args.budget,
        pool=args.pool,
        quality_key=args.quality_key,
        number=args.round,
    )
    if not chosen.n:
        return f"round {args.round} is there already\n{summary(chosen.campaign)}"
    return f"{chosen.n} more chosen\n{summary(chosen.campaign)}"
