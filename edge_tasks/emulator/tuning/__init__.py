"""The search for better parameters: the space, the algorithms, and what trials report. No processes, no store."""
