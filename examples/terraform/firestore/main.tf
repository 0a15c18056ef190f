# A Firestore database and the settings of one collection that skykv keeps its
# entries in: the settings that firestorekv.Ensure makes. The store writes its layout
# document when it is first opened.
#
#   terraform init
#   terraform apply -var project=my-project
#
# Then open firestore://my-project/kv

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source = "hashicorp/google"
      # A release with ttl_config.expiration_offset in google_firestore_field, of
      # June 2026 or later. Terraform says so when the installed one lacks it.
      version = ">= 7.0"
    }
  }
}

variable "project" {
  type        = string
  description = "The ID of the Google Cloud project."
}

variable "database" {
  type        = string
  description = "The ID of the database."
  default     = "(default)"
}

variable "create_database" {
  type        = bool
  description = "Whether to create the database, in var.location. Unset it for one that exists."
  default     = true
}

variable "location" {
  type        = string
  description = "Where the database is: a region such as europe-west3, or a multi-region such as eur3."
  default     = "eur3"
}

variable "collection" {
  type        = string
  description = "The ID of the collection. The settings hold for every collection of that ID in the database."
  default     = "kv"
}

variable "users" {
  type        = list(string)
  description = "Who may use the store, such as serviceAccount:app@my-project.iam.gserviceaccount.com."
  default     = []
}

provider "google" {
  project = var.project
}

resource "google_firestore_database" "kv" {
  count       = var.create_database ? 1 : 0
  name        = var.database
  location_id = var.location
  type        = "FIRESTORE_NATIVE"
}

# Firestore deletes a document one hour after its expiry or later: clocks that are
# apart by less cannot make it delete a live one. skykv itself judges the expiry
# to the millisecond.
resource "google_firestore_field" "expiry" {
  database   = var.database
  collection = var.collection
  field      = "x"

  ttl_config {
    expiration_offset = "3600s"
  }

  # No indexes: skykv does not query by it, and they would limit the rate of writes.
  index_config {}

  depends_on = [google_firestore_database.kv]
}

resource "google_firestore_field" "unindexed" {
  for_each = toset(["v", "t", "p"])

  database   = var.database
  collection = var.collection
  field      = each.key

  index_config {}

  depends_on = [google_firestore_database.kv]
}

resource "google_project_iam_member" "users" {
  for_each = toset(var.users)

  project = var.project
  role    = "roles/datastore.user"
  member  = each.key
}

output "url" {
  description = "What to open the store with."
  value       = var.database == "(default)" ? "firestore://${var.project}/${var.collection}" : "firestore://${var.project}/${var.collection}?database=${var.database}"
}
