"""Hostile input: damaged files, kills, full disks, little memory, two processes at once.

``python -m benchmarks.fuzz`` runs all of it, seeded and bounded, and prints a table.
"""
