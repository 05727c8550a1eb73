"""Trainings, tunings and batch predictions as jobs: packaged, submitted once, waited for, and brought back."""
