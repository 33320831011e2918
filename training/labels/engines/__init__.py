"""Labelling engines: their contract, their configurations, and one module for each."""
