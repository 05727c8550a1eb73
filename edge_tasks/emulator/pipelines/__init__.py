"""A compiled pipeline (kfp's IR 2.1) and its run, task by task; `services.pipeline_tasks` does what a task does."""
