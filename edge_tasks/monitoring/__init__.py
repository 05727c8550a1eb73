"""Watching what a model is asked: what is kept, and whether it is still like what the model was trained on."""
