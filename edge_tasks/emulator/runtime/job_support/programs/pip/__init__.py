"""Stands before the real pip on a job's path: see `__main__`."""
