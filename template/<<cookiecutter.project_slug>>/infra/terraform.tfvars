# Written by `invoke infra.export`; a further export writes it again. Your own resources go into other files.
project_id  = "<<cookiecutter.google_cloud_project_id>>"
region      = "<<cookiecutter.region>>"
bucket_name = "<<cookiecutter.bucket_name>>"
