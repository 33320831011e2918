"""Label frames by an engine: energy, forces, stress, level of theory."""
