"""`seedselect ingest`: take labels, partially and in any order."""

from __future__ import annotations

import argparse
from pathlib import Path

from seedselect.campaign import Campaign
from seedselect.commands.status import summary
from seedselect.dataset import load_table
from seedselect.errors import SeedSelectError
from seedselect.labels import ingest_frames, ingest_rows
from seedselect.lock import CampaignLock

HELP = "take labels that have come in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)
    parser.add_argument("labels", type=Path, nargs="*", help="labelled frames, or CSV rows")
    parser.add_argument("--failed", nargs="+", default=[], help="hashes whose label failed")
    parser.add_argument("--replace", action="store_true", help="let a new label replace an old one")


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    if not args.labels and not args.failed:
        raise SeedSelectError("nothing to ingest: give files with labels, or --failed HASH")
    with CampaignLock(args.campaign):
        campaign = Campaign.open(args.campaign)
        entries = campaign.manifest.entries
        new = known = 0
        if args.labels and campaign.manifest.kind == "frames":
            chosen = campaign.chosen()
            new, known = ingest_frames(args.campaign, args.labels, chosen, args.replace)
        elif args.labels:
            settings = campaign.settings
            source = load_table(campaign.input_path("source"), settings.targets, settings.drop)
            columns = source.target_names or ["y0"]
            keys = {entry.key for entry in entries}
            new, known = ingest_rows(args.campaign, args.labels, keys, columns, args.replace)
        if args.failed:
            _mark_failed(campaign, args.failed)
        return f"{new} new labels, {known} known before\n{summary(campaign)}"


def _mark_failed(campaign: Campaign, keys: list[str]) -> None:
    by_key = {entry.key: entry for entry in campaign.manifest.entries}
    for key in keys:
        if key not in by_key:
            raise SeedSelectError(f"--failed {key}: not chosen in this campaign")
    for key in keys:
        by_key[key].failed = True
    campaign.write()
