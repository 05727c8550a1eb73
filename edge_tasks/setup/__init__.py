"""Setting a repository up, looking whether all is well, and bringing it up to a newer template."""
