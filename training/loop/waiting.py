"""What a loop does when others are to work."""

from __future__ import annotations


class Waiting(Exception):
    """Labels or trajectories are to be made elsewhere before the loop can go on."""
