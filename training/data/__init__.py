"""Labelled frames: read, checked, split, and turned into batches of graphs."""
