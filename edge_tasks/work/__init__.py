"""What the tasks do: plain functions of plain values. Nothing here knows of invoke."""
