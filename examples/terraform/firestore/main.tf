# The settings that firestorekv.Ensure makes for a collection of skykv, and its
# database. The store writes its layout
# document when it is first opened with layout=skykv, as the output below names it.
#
#   terraform init
#   terraform apply -var project=my-project
#
# Printed by: skykv provision --print terraform firestore://my-project/kv

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source = "hashicorp/google"
      # Releases that are known to have ttl_config.expiration_offset.
      version = "~> 7.45"
    }
  }
}

variable "project" {
  type        = string
  description = "The ID of the Google Cloud project, not its number."
  default     = "my-project"
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

variable "shards" {
  type        = number
  description = "The number of shards, which is fixed when the store is first opened."
  default     = 1
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

  # All entries go with the database. To delete it, set this to
  # DELETE_PROTECTION_DISABLED first, and apply.
  delete_protection_state = "DELETE_PROTECTION_ENABLED"
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
  value       = "firestore://${var.project}/${var.collection}?database=${var.database}&layout=skykv&shards=${var.shards}"
}
