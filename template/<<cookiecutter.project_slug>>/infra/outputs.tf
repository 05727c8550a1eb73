# Written by `invoke infra.export`; a further export writes it again. Your own resources go into other files.

output "bucket_name" {
  description = "The bucket of data, models and state"
  value       = google_storage_bucket.store.name
}

output "training_service_account" {
  description = "The account that training jobs run as; `invoke infra.adopt` writes it into edge.yaml"
  value       = google_service_account.edge_job.email
}
