"""Model servers: one process for each deployed model, speaking the contract of prediction containers.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""
