"""Commands about configurations: one to begin with, and the reference of all keys."""
