"""From what Sacred tells of a run to its record in the bucket, and wherever else it is to be shown."""
