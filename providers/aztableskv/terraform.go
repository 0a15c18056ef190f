package aztableskv

import "fmt"

// Terraform returns the table of a URL's store as a configuration of Terraform, without
// any I/O. The storage account must exist. The layout record is not in it: whoever opens
// the store first writes it.
func Terraform(url string) (string, error) {
	at, err := parseURL(url)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(terraform, at.table, at.account), nil
}

const terraform = `# The table of aztables://%[2]s/%[1]s, in a storage account that exists. Expired
# entries are deleted by: skykv sweep aztables://%[2]s/%[1]s
terraform {
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.0"
    }
  }
}

provider "azurerm" {
  features {}
}

resource "azurerm_storage_table" "kv" {
  name                 = %[1]q
  storage_account_name = %[2]q
}
`
