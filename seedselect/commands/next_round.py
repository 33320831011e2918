"""`seedselect next`: choose more, knowing what is done and what is on its way."""

from __future__ import annotations

import argparse
from pathlib import Path

from seedselect.campaign import ENOUGH_LABELS, Campaign
from seedselect.commands.status import summary
from seedselect.errors import SeedSelectError
from seedselect.estimate import estimate
from seedselect.lock import CampaignLock

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
    if args.n is None and args.budget is None:
        raise SeedSelectError("say how many to choose: -n 50 (or --budget with sampler map)")
    if args.n is not None and args.n < 1:
        raise SeedSelectError(f"-n {args.n}: ask for at least one point")
    if args.dry_run:
        campaign = Campaign.open(args.campaign)
        pool = args.pool
        if pool is None and "pool" in campaign.manifest.inputs:
            pool = campaign.input_path("pool")
        lines = estimate(campaign.input_path("source"), pool, campaign.settings).lines()
        return "\n".join(["dry run: nothing is written", *lines])
    with CampaignLock(args.campaign):
        campaign = Campaign.open(args.campaign)
        found = len(campaign.manifest.rounds)
        if args.round is not None and args.round <= found:
            return f"round {args.round} is there already\n{summary(campaign)}"
        if args.round is not None and args.round != found + 1:
            raise SeedSelectError(f"--round {args.round}: {args.campaign} has {found} rounds")
        size = campaign.choose_next(args.n, args.budget, args.pool, args.quality_key)
        return f"{size} more chosen\n{summary(campaign)}"
