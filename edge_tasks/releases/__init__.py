"""Which version of a model an endpoint serves: the registry, deployments, and what CI does with both."""
