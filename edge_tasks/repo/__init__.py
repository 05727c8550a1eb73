"""The files of a checkout: edge.yaml, params.yaml, and what a training leaves next to them."""
