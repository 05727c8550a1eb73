"""Recorded runs, found again: listed, and shown as text."""
