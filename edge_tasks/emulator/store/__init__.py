"""What must survive a restart, and how lists of it are filtered, ordered and cut into pages."""
