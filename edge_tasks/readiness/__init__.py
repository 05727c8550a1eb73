"""What would fail on Google Cloud, found before anything is sent: in a job's code and data, in a model's artifact."""
