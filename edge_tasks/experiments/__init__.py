"""Recorded runs, found again: listed, shown as text, and as a web page."""
