"""Studies: many runs side by side, compared fairly."""
