# Written by `invoke infra.export`; a further export writes it again. Your own resources go into other files.

resource "google_project_service" "api" {
  for_each = toset([
    "aiplatform.googleapis.com",
    "logging.googleapis.com",
    "storage.googleapis.com",
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
  ])

  service = each.value

  # Others may use the API, too: it stays on when this configuration goes. Nothing here names one of
  # Google's service agents, which come into being with an API's first use.
  disable_on_destroy = false
}

resource "google_storage_bucket" "store" {
  # checkov:skip=CKV_GCP_62:access logs take another bucket; Cloud Audit Logs can tell who read what
  # checkov:skip=CKV_GCP_78:soft delete keeps what is deleted or written over; versions of a lock and a state only cost
  name                        = var.bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  labels = {
    edge-managed-by = "terraform"
  }

  # Google's own default, written down: what is deleted can be restored for a week.
  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  # It holds data, models, the shared state and Terraform's own.
  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.api]
}

resource "google_service_account" "edge_job" {
  account_id   = "edge-job"
  display_name = "training jobs of vertex:edge"

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "edge_job_storage_objectadmin" {
  bucket = google_storage_bucket.store.name
  role   = "roles/storage.objectAdmin"
  member = google_service_account.edge_job.member
}

resource "google_project_iam_member" "edge_job_logging_logwriter" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.edge_job.member
}

resource "google_project_iam_custom_role" "edgepredict" {
  # A deleted role keeps its id for a week: `gcloud iam roles undelete` brings it back.
  role_id     = "edgePredict"
  title       = "Ask for predictions"
  permissions = ["aiplatform.endpoints.predict"]
}

resource "google_artifact_registry_repository" "edge_serving" {
  # checkov:skip=CKV_GCP_84:encrypted with Google's keys, as all else here
  repository_id = "edge-serving"
  location      = var.region
  format        = "DOCKER"
  description   = "serving images, by vertex-edge"

  labels = {
    edge-managed-by = "terraform"
  }

  depends_on = [google_project_service.api]
}
