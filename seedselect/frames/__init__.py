"""Atomistic configurations as rows: frames, neighbours, descriptors."""
