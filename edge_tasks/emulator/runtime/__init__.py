"""Everything that runs in addition to the HTTP server: jobs, Cloud Storage, and what they need."""
