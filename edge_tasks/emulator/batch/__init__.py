"""Batch prediction: what is in the input files, and what goes into the output files."""
