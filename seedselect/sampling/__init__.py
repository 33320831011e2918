"""Choosing rows by a kernel: exact k-DPPs, greedy determinants, draws in labelling order."""
