"""Distillation: a small, fast potential that stands in for a large one between its evaluations."""
