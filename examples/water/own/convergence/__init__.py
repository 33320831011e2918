"""Is the label level converged? Basis sets, pseudopotentials, cut-offs, and what each costs."""
