"""`seedselect ingest`: take labels, partially and in any order."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "take labels that have come in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)
    parser.add_argument("labels", type=Path, nargs="*", help="labelled frames, or CSV rows")
    parser.add_argument(
        "--failed", nargs="+", default=[], help="hashes (or their beginnings) whose label failed"
    )
    parser.add_argument("--replace", action="store_true", help="let a new label replace an old one")


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    from seedselect.campaign.steps import ingest
    from seedselect.commands.status import summary

    taken = ingest(args.campaign, args.labels, failed=args.failed, replace=args.replace)
    return f"{taken.new} new labels, {taken.known} known before\n{summary(taken.campaign)}"
