"""Cheap labelled frames from classical force fields and other ASE calculators."""
