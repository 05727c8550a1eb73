"""Other programs on this machine: git, DVC, the emulator's process, signals. Their errors become EdgeError here."""
