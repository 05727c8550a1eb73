"""Whether the features of one sample are distributed as those of another: what monitoring jobs compute."""
