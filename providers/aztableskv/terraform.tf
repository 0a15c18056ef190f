# The table of aztables://ACCOUNT/TABLE?PARAMS: what skykv provision makes and, if
# wanted, its storage account and the role of its users.
#
#   terraform init
#   terraform apply -var subscription=00000000-0000-0000-0000-000000000000 -var resource_group=my-group
#
# Azure Tables does not delete expired entries. This command deletes them:
#
#   skykv sweep 'aztables://ACCOUNT/TABLE?PARAMS'

terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.78" # the first release in which a table has a storage_account_id
    }
  }
}

variable "subscription" {
  type        = string
  description = "The ID of the subscription."
}

variable "resource_group" {
  type        = string
  description = "The name of the storage account's resource group, which exists."
}

variable "account" {
  type        = string
  description = "The name of the storage account, which no other account in Azure has."
  default     = "ACCOUNT"

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.account))
    error_message = "The account's name must be 3 to 24 lower-case letters and digits."
  }
}

variable "create_account" {
  type        = bool
  description = "Whether to create the account too, in the region of its resource group."
  default     = false
}

variable "replication" {
  type        = string
  description = "How a new account is replicated: ZRS over the zones of its region, LRS within one, GZRS or GRS to another region as well. skykv reads the primary region alone."
  default     = "ZRS"
}

variable "table" {
  type        = string
  description = "The name of the table."
  default     = "TABLE"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9]{2,62}$", var.table))
    error_message = "The table's name must be 3 to 63 letters and digits, the first of them a letter."
  }
}

variable "users" {
  type        = list(string)
  description = "Who may use the store: the object IDs of users, groups, service principals or managed identities."
  default     = []
}

provider "azurerm" {
  subscription_id = var.subscription
  features {}
}

data "azurerm_resource_group" "kv" {
  name = var.resource_group
}

resource "azurerm_storage_account" "kv" {
  count = var.create_account ? 1 : 0

  name                            = var.account
  resource_group_name             = data.azurerm_resource_group.kv.name
  location                        = data.azurerm_resource_group.kv.location
  account_kind                    = "StorageV2" # tables are always in the standard tier
  account_tier                    = "Standard"
  account_replication_type        = var.replication
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  allow_nested_items_to_be_public = false
}

locals {
  account_id = "${data.azurerm_resource_group.kv.id}/providers/Microsoft.Storage/storageAccounts/${var.account}"
}

resource "azurerm_storage_table" "kv" {
  name               = var.table
  storage_account_id = local.account_id

  depends_on = [azurerm_storage_account.kv]

  lifecycle {
    prevent_destroy = true # all entries go with the table
  }
}

# Storage Table Data Reader would be enough to read a table that has been opened
# before.
resource "azurerm_role_assignment" "users" {
  for_each = toset(var.users)

  scope                = "${local.account_id}/tableServices/default/tables/${azurerm_storage_table.kv.name}"
  role_definition_name = "Storage Table Data Contributor"
  principal_id         = each.key
}

output "url" {
  description = "What to open the store with."
  value       = "aztables://${var.account}/${azurerm_storage_table.kv.name}?PARAMS"
}
