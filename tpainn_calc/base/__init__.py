"""The ground floor: errors, files, locks, schemas, tables, records and frames.

All four packages stand on it. It imports neither torch nor ASE's calculators, so that commands
which need neither start at once.
"""
