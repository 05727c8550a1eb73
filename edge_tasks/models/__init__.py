"""The models of a repository: an overview, a report, predictions, and the web services that ask them."""
