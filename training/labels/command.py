"""``tpainn-train label``."""

from __future__ import annotations

import argparse
import logging

from tpainn_calc.base.errors import ConfigError
from training.labels.engines.config import load_engine
from training.labels.labelling import Summary, label_campaign

_log = logging.getLogger(__name__)


def label(arguments: argparse.Namespace) -> Summary:
    """Run the command."""
    if arguments.jobs < 1:
        raise ConfigError(f"--jobs {arguments.jobs}: at least one process is needed")
    if arguments.time_limit is not None and not arguments.time_limit > 0:
        raise ConfigError(f"--time-limit {arguments.time_limit:g}: seconds above 0 are needed")
    engine = load_engine(arguments.engine)
    options = {
        "jobs": arguments.jobs,
        "progress": not arguments.quiet,
        "retry_failed": arguments.retry_failed,
        "time_limit": arguments.time_limit,
        "share": None if arguments.share is None else share_of(arguments.share),
    }
    if arguments.dask is None:
        return label_campaign(arguments.campaign, engine, **options)
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("--dask needs Dask: pip install 'tpainn[dask]'") from None
    try:
        client = Client(arguments.dask, timeout=20)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--dask {arguments.dask}: no scheduler there ({error})") from None
    with client, client.get_executor() as executor:
        if not client.scheduler_info()["workers"]:
            _log.warning("--dask %s: no worker there yet; frames wait for one", arguments.dask)
        return label_campaign(arguments.campaign, engine, executor=executor, **options)


def share_of(text: str) -> tuple[int, int]:
    """Number and count of ``K/N``.

    Raises
    ------
    ConfigError
        If it is anything else, or K is not one of 0, ..., N - 1.
    """
    number, _, count = text.partition("/")
    if number.isdigit() and count.isdigit() and int(number) < int(count):
        return int(number), int(count)
    raise ConfigError(f"--share {text!r}: write it as K/N with K from 0 to N - 1, such as 3/16")
