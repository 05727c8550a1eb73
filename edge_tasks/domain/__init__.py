"""What everything is made of: values, and what is computed of them. No file, no network, no environment variable."""
