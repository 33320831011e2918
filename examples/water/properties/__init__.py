"""Properties of liquid water from molecular dynamics: ``python -m examples.water.properties``."""
