"""From an HTTP request to a message of the API, and back."""
