"""`seedselect report`: figures and numbers about a campaign."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "draw where the chosen points lie and what they are worth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("campaign", type=Path)


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    from seedselect.campaign.campaign import Campaign
    from seedselect.campaign.report import write_report
    from seedselect.campaign.rounds import campaign_inputs
    from seedselect.campaign.steps import campaign_lock
    from seedselect.commands.status import summary

    Campaign.open(args.campaign)  # a lock would make the directory
    with campaign_lock(args.campaign):
        campaign = Campaign.open(args.campaign)
        numbers = write_report(campaign, campaign_inputs(campaign))
    lines = [summary(campaign)]
    for name, value in numbers["coverage"].items():
        lines.append(
            f"  coverage, {name}: mean distance {value['mean']:.3f}, 95 % {value['p95']:.3f}"
        )
    for number, value in numbers["information_per_label_nats"].items():
        lines.append(f"  round {number}: {value:.2f} nats expected per label")
    labels = numbers["labels"]
    for name, value in labels["correlation"].items():
        lines.append(f"  source and labels, {name}: r = {value:.2f} over {labels['pairs']} rows")
    lines.append(f"wrote {args.campaign / 'report.png'} and report.json")
    return "\n".join(lines)
