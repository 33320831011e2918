"""The end of a command whose work is to be done elsewhere."""

from __future__ import annotations


class Waiting(Exception):
    """Labels or trajectories are to be made elsewhere before the loop can go on."""
