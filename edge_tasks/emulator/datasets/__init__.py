"""What managed datasets hold, and how a training gets its share of it."""
