# Written by `invoke infra.export`; a further export writes it again. Your own resources go into other files.

variable "project_id" {
  type        = string
  description = "Google Cloud project"

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{4,28}[a-z0-9])$", var.project_id))
    error_message = "A project's id has 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  type        = string
  description = "region of Vertex AI and of the bucket"

  validation {
    condition     = can(regex("^([a-z]+-[a-z]+[0-9]+)$", var.region))
    error_message = "A region is named like europe-west1."
  }
}

variable "bucket_name" {
  type        = string
  description = "bucket of data, models and state"

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])$", var.bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, hyphens, underscores and dots."
  }
}
