"""Many trainings compared in one table: architectures, ablations, protocols, sizes, seeds."""
