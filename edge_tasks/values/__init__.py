"""Values, and what is computed of them: no network, no clients, no printing."""
