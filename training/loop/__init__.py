"""The closed loop: pick, label, tune, sample, pick again."""
