"""A small Vertex AI for one machine: `python -m edge_tasks.emulator --data DIR`.

It answers the Vertex AI API, v1 and v1beta1 (https://cloud.google.com/vertex-ai/docs/reference/rest) on 127.0.0.1, by
REST and by gRPC, really runs custom jobs as processes and really serves models, and answers Cloud Storage's JSON API on
its own port. The unmodified google-cloud-aiplatform and google-cloud-storage clients work against it. It is usable
alone and imports nothing else of `edge_tasks`.

What is not as on Vertex AI, on purpose or so far:

- prebuilt training images and plain python images stand for the local Python environment; others run with Docker, or
  fail when there is no engine;
- with `--environments isolated` a job or a model server runs in an environment that uv makes from what is known of its
  image, and `pip install` of a job installs; what the prebuilt images hold is Google's list, not their very content;
- containers share the network of this machine, so a model's must listen on the port in AIP_HTTP_PORT, which is the one
  of its container_spec only when that is free;
- else nothing is downloaded: `pip install` in a local job unpacks or builds local archives and checks names;
- below `/gcs` a job finds the buckets by its own mount, where the machine allows one; elsewhere Python's own
  functions and paths in its command and variables are led to a folder, whose changes are uploaded when the job ends; so
  are those of a container, which finds only what its command and variables name there;
- all replicas of a job run on this machine; a replica that fails fails the job, without a retry; machine types and
  accelerators are checked, but mean nothing; networks and service accounts are kept but mean nothing;
- there is no authentication, and no quota;
- gRPC is answered in plain text on its own port, where `sdk_patch` leads the clients that ask for gRPC by name
  and the asynchronous ones; the others go by REST;
- pipeline jobs run what kfp 2 compiles, each container of a task as a custom job; of Google's operators those run that
  train, register, deploy and predict, without their image; secrets and volumes of Kubernetes are refused;
- training pipelines run custom training code on one replica; there is no AutoML, and datasets have no annotations and
  nothing of BigQuery;
- hyperparameter tuning runs every trial to its end (no early stopping), at most 50 side by side; its default
  search is a separate Bayesian optimization;
- prebuilt serving images are never run: the local Python environment loads their artifacts by the images' rules
  (sklearn, xgboost, and tensorflow and pytorch where they are installed; pytorch archives by their own handlers);
- there is no network: the model of a peered endpoint is asked at a path of this server, an endpoint of Private Service
  Connect at the API's address; a dedicated one has this address for its DNS name, without TLS, so that the SDK gets
  there only with `sdk_patch`: in jobs, with the pytest fixture, in a shell with `local.env`;
- batch predictions read jsonl and csv and write jsonl, one file of results and one of errors for each input
  file; a batch that fails is asked again instance by instance, so that only the bad ones fail;
- schedules start pipeline jobs and (in v1beta1) jobs of model monitors, not notebooks; what was due while the emulator
  did not run is left out;
- monitoring jobs of endpoints compare windows by their own clock, which can be moved, and those of model monitors (of
  v1beta1) once, or when a schedule says; both write no files, no mail and no log, and monitor no attributions;
- metadata stores keep artifacts, executions and contexts of any schema title, not the schemas; tensorboards keep
  scalars and tensors, and have no web page;
- Cloud Storage keeps a bucket's settings, also those that do nothing here (lifecycle, soft delete, autoclass, website,
  encryption, public access); it has no soft-deleted objects, managed folders, notifications, HMAC keys or keys of
  Cloud KMS, and checks no signature; of the XML API it has objects by their address and multipart uploads;
- every RPC that has no handler answers 501 UNIMPLEMENTED with its name.

    projects   ids and numbers of projects
    snapshots  all that is stored, saved and loaded
    expressions  joined and negated terms, for the languages of filters and conditions
    schema/    the frozen API: message types, routes, operation types
    rpc/       the same by gRPC
    http/      from a request to a message and back; what a web page may not do
    store/     what must survive: SQLite, filters, pages, field masks
    services/  one module for each Vertex AI service, a function for each RPC, named after it
    storage/   Cloud Storage: buckets, objects, uploads
    runtime/   processes and containers: jobs, Cloud Storage, packages, images, isolated environments
    monitoring/  what monitoring jobs compare: the columns of files, tables and logs, and how far two are apart
    pipelines/ compiled pipelines: their graph, conditions, placeholders
    datasets/  the rows of managed datasets, and their splits
    recording/ sessions of Google's API, and how the emulator answers the same
    batch/     the input and the output files of batch predictions
    tuning/    the search for better hyperparameters
    serving/   one process for each deployed model, and the way to it
"""
