"""Candidates, in memory or larger than memory."""
