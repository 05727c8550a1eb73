# Written by `invoke infra.export`; a further export writes it again. Your own resources go into other files.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50, < 8.0"
    }
  }

  # A backend takes no variables. `invoke init --target gcp` makes the bucket before the first use.
  backend "gcs" {
    bucket = "<<cookiecutter.bucket_name>>"
    prefix = ".edge_state/terraform"
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}
