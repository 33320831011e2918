"""`seedselect pick`: choose the first seeds and start a campaign."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seedselect.campaign.settings import PickSettings
from seedselect.errors import SeedSelectError
from tpainn_calc.base.schema import load_config

HELP = "choose configurations to label and start a campaign"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those left out come from --config, then from `PickSettings`."""
    parser.add_argument(
        "source",
        nargs="+",
        help="labelled source: .extxyz, .h5, folders of them; .csv, .npz",
    )
    parser.add_argument("--pool", nargs="+", help="candidates, if they are not the source itself")
    parser.add_argument("-o", "--output", type=Path, required=True, help="campaign directory")
    parser.add_argument("-n", type=int, help="how many to choose")
    parser.add_argument("--config", type=Path, help="YAML file with any of the settings below")
    parser.add_argument("--budget", type=float, help="total cost that must not be exceeded")
    parser.add_argument("--cost", help="none, atoms or atoms3 (atoms cubed)")
    parser.add_argument("--cost-exponent", type=float, help="beta in quality / cost^beta")
    parser.add_argument("--method", help="auto, design (expected error) or atbagging")
    parser.add_argument("--score", help="local, marginal or joint")
    parser.add_argument("--sampler", help="kdpp, map (greedy) or random (uniform)")
    parser.add_argument("--quality", help="score, or diversity to ignore the source's labels")
    parser.add_argument("--form", help="tempered, or published: the score as it was published")
    parser.add_argument("--temper", type=float, help="exponent of the score; 0 is diversity alone")
    parser.add_argument("--floor", type=float, help="smallest quality that the score gives")
    parser.add_argument("--n-estimators", help="members of the committee, or auto")
    parser.add_argument("--n-features", type=int, help="random features of the kernel")
    parser.add_argument("--length-factor", type=float, help="kernel width; smaller raises the rank")
    parser.add_argument("--dedup", type=float, help="drop rows nearer than this (0: exact only)")
    parser.add_argument("--descriptor", help="default, soap or package.module:callable")
    parser.add_argument("--cutoff", type=float, help="of the descriptor, Angstrom")
    parser.add_argument("--pooling", help="mean, or sum for molecules of different size")
    parser.add_argument(
        "--target", dest="targets", action="append", help="target column of a table (repeatable)"
    )
    parser.add_argument("--drop", action="append", help="column of a table to leave out")
    parser.add_argument("--max-source", type=int, help="rows the committee is fitted on, at most")
    parser.add_argument("--seed", type=int, help="rules everything")
    parser.add_argument("--dry-run", action="store_true", help="print time and memory, do nothing")


def settings_from(args: argparse.Namespace) -> PickSettings:
    """Return the settings of the command line over those of the file."""
    base = (
        PickSettings.model_validate({})
        if args.config is None
        else load_config(args.config, PickSettings)
    )
    given: dict[str, Any] = {
        name: getattr(args, name)
        for name in PickSettings.model_fields
        if getattr(args, name, None) is not None
    }
    if isinstance(given.get("n_estimators"), str) and given["n_estimators"].isdigit():
        given["n_estimators"] = int(given["n_estimators"])
    try:
        settings = PickSettings.model_validate(base.model_dump(exclude_unset=True) | given)
    except ValidationError as error:
        fault = error.errors()[0]
        option = "--" + str(fault["loc"][0]).replace("_", "-")
        raise SeedSelectError(f"{option}: {fault['msg']} (got {fault['input']!r})") from error
    if settings.n is None and settings.budget is None:
        raise SeedSelectError("say how many to choose: -n 50 (or --budget with --sampler map)")
    return settings


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    from seedselect.campaign.steps import begin, preview
    from seedselect.commands.status import summary

    settings = settings_from(args)
    if args.dry_run:
        lines = preview(args.output, args.source, settings, pool=args.pool).lines()
        return "\n".join(["dry run: nothing is written", *lines])
    campaign = begin(args.output, args.source, settings, pool=args.pool)
    name = "selected.extxyz" if campaign.manifest.kind == "frames" else "selected.csv"
    return (
        f"{summary(campaign)}\n"
        f"label {args.output / name} from the top, then: seedselect ingest {args.output} LABELS"
    )
