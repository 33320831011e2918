"""`seedselect next`: choose more, knowing what is done and what is on its way."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "choose another round, knowing what is labelled and pending"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)
    parser.add_argument("-n", type=int, help="how many to choose")
    parser.add_argument("--budget", type=float, help="total cost of this round")
    parser.add_argument("--pool", nargs="+", help="choose from these frames, not from the pool")
    parser.add_argument("--quality-key", help="worth of each frame of --pool, in its comment line")
    parser.add_argument("--round", type=int, help="do nothing if this round is there already")
    parser.add_argument("--dry-run", action="store_true", help="print time and memory, do nothing")


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    from seedselect.campaign.steps import choose_next, preview_next
    from seedselect.commands.status import summary

    if args.dry_run:
        lines = preview_next(
            args.campaign, args.n, budget=args.budget, pool=args.pool, quality_key=args.quality_key
        ).lines()
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
