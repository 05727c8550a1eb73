"""The repository's DVC pipeline, run by Vertex AI Pipelines."""
