"""Similarity of rows: feature maps, the low-rank kernel that they make, and its conditioning."""
