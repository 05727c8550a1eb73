"""Everything that runs beside the HTTP server: jobs, Cloud Storage, and what they need."""
