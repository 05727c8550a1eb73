"""Where a run is told of beside the bucket: Vertex AI Experiments and MongoDB, behind one small interface."""
