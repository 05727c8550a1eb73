"""Where a run is reported in addition to the bucket: Vertex AI Experiments and MongoDB, behind one small interface."""
