"""Model servers: one process for each deployed model, speaking the contract of prediction containers.

Where a fork is safe the processes are forked from one that has imported the framework (`runtime.forks`), which makes a
deployment a matter of milliseconds and idle servers light; elsewhere each imports it by itself.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""
