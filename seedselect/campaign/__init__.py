"""Campaigns in Python: what the commands do, with typed errors.

>>> from seedselect.campaign import Campaign, PickSettings, begin, choose_next, ingest

* ``begin(directory, source, PickSettings(n=50))`` chooses the first round;
* ``choose_next(directory, 20, pool=...)`` another one;
* ``ingest(directory, frames=..., failed=...)`` takes labels and failures;
* ``Campaign.open(directory)`` reads: ``entries`` (key, round, order, ...), ``states()`` (key ->
  "pending", "done" or "failed"), ``frames(keys)`` (key -> `ase.Atoms`).

Mistakes are `SeedSelectError` or another `TPaiNNError`; a campaign on which another process works
is a `BusyError`.
"""

from seedselect.campaign.campaign import Campaign
from seedselect.campaign.manifest import Entry, Manifest, Round
from seedselect.campaign.settings import PickSettings
from seedselect.campaign.steps import (
    Chosen,
    Ingested,
    begin,
    campaign_lock,
    choose_next,
    ingest,
    preview,
    preview_next,
)

__all__ = [
    "Campaign",
    "Chosen",
    "Entry",
    "Ingested",
    "Manifest",
    "PickSettings",
    "Round",
    "begin",
    "campaign_lock",
    "choose_next",
    "ingest",
    "preview",
    "preview_next",
]
