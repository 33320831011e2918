"""Cheap force fields: flexible water by OpenMM, molecules by RDKit."""
