"""A small Vertex AI for one machine: `python -m edge_tasks.emulator --data DIR`.

It answers the Vertex AI v1 REST API (https://cloud.google.com/vertex-ai/docs/reference/rest) on 127.0.0.1,
really runs custom jobs as processes and really serves models, with fake-gcs-server beside it as Cloud
Storage. The unmodified google-cloud-aiplatform (REST transport) and google-cloud-storage clients work
against it. It is usable alone and imports nothing else of `edge_tasks`.

What is not as on Vertex AI, on purpose or so far:

- prebuilt training images and plain python images stand for the local Python environment; others fail;
- nothing is installed: `pip install` in a job unpacks local archives and checks names;
- `/gcs/BUCKET/path` in a job's command is a copy to read; what is written there is lost with the job;
- one replica runs; machine types, accelerators, networks and service accounts are kept but mean nothing;
- there is no authentication, and no quota;
- training pipelines run custom training code on one replica, without managed datasets; there is no AutoML;
- hyperparameter tuning runs every trial to its end (no early stopping), at most 50 side by side; its default
  search is a Bayesian optimization of its own;
- models are served by the prebuilt sklearn and xgboost images' rules; other images are refused;
- batch predictions read jsonl and csv and write jsonl, one file of results and one of errors for each input
  file; a batch that fails is asked again instance by instance, so that only the bad ones fail;
- metadata stores keep artifacts, executions and contexts of any schema title, not the schemas; tensorboards keep
  scalars and tensors, and have no web page;
- every RPC that has no handler answers 501 UNIMPLEMENTED with its name.

    schema/    the frozen API: message types, routes, operation types
    http/      from a request to a message and back; what a web page may not do
    store/     what must survive: SQLite, filters, pages, field masks
    services/  one module for each Vertex AI service, a function for each RPC, named after it
    runtime/   processes: jobs, Cloud Storage, packages, images
    batch/     the input and the output files of batch predictions
    tuning/    the search for better hyperparameters
    serving/   one process for each deployed model, and the way to it
"""
