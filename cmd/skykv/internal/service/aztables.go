package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
	"github.com/skykv/skykv/providers/aztableskv"
)

type azureTables struct {
	*aztableskv.Connection
	url, account, endpoint string
}

func newAzureTables(url string) (*azureTables, error) {
	conn, err := aztableskv.Connect(url)
	if err != nil {
		return nil, err
	}
	u, err := provider.ParseURL("aztables", "aztables://ACCOUNT/TABLE?endpoint=URL&shards=N", url)
	if err != nil {
		return nil, err
	}
	a := &azureTables{Connection: conn, url: url, account: u.Host}
	if a.endpoint = u.Get("endpoint"); a.endpoint == "" && os.Getenv("AZURE_STORAGE_CONNECTION_STRING") == "" {
		// A connection string has an endpoint of its own, which is the client's business.
		a.endpoint = "https://" + u.Host + ".table.core.windows.net"
		if u.Host == "devstoreaccount1" {
			a.endpoint = "http://127.0.0.1:10002/devstoreaccount1"
		}
	}
	return a, nil
}

func (a *azureTables) Endpoint() string { return a.endpoint }

// Credentials has nothing to say: whether they are good shows with the first request.
func (a *azureTables) Credentials(context.Context) []Check { return nil }

func (a *azureTables) Settings(ctx context.Context) []Check {
	table := a.Client.NewClient(a.Table)
	resp, err := table.GetEntity(ctx, "skykv", "layout", nil)
	azErr, answered := errors.AsType[*azcore.ResponseError](err)
	there := Check{Name: "table", Status: OK, Detail: a.Table + " is there"}
	switch {
	case answered && azErr.ErrorCode == string(aztables.TableNotFound):
		return []Check{
			accepted,
			{Name: "table", Status: Fail, Detail: "there is no table " + a.Table + " in account " + a.account, Fix: provision, Step: "create table " + a.Table},
			layout(false, ""),
		}
	case answered && azErr.ErrorCode == string(aztables.ResourceNotFound):
		return []Check{accepted, there, layout(false, "")}
	case err != nil:
		// Errors of the SDK may hold the signature of a SAS; those of the provider do not.
		store, err := providers.Open(ctx, a.url)
		if err != nil {
			return []Check{failed("credentials", err, "log in as for the az command, or set AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING; the role is Storage Table Data Contributor")}
		}
		store.Close()
		return []Check{accepted, there}
	}
	var record struct {
		Format int `json:"format"`
		Shards int `json:"shards"`
	}
	if json.Unmarshal(resp.Value, &record) != nil || record.Shards == 0 {
		return []Check{accepted, there, {Name: "layout", Status: Fail, Detail: "the layout record is not skykv's", Fix: "name another table"}}
	}
	checks := []Check{accepted, there, sharded(record.Shards, a.Options.Shards)}

	// There is no TTL: what expired an hour ago waits for a sweep.
	filter := fmt.Sprintf("x lt %dL", time.Now().Add(-time.Hour).UnixMilli())
	one, keys := int32(1), "PartitionKey"
	expired := Check{Name: "sweep", Status: OK, Detail: "no expired entries wait to be deleted, as far as one request tells"}
	pager := table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter, Top: &one, Select: &keys})
	if page, err := pager.NextPage(ctx); err == nil && len(page.Entities) > 0 {
		expired = Check{Name: "sweep", Status: Warn, Detail: "expired entries wait to be deleted: Azure Tables does not do that by itself", Fix: "run, every day or so: skykv sweep URL"}
	}
	return append(checks, expired)
}

func (a *azureTables) Provision(ctx context.Context) error {
	return aztableskv.EnsureTable(ctx, a.Client, a.Table)
}

func (a *azureTables) Terraform() (string, error) {
	return fmt.Sprintf(`# The table of aztables://%[2]s/%[1]s, in a storage account that exists. Expired
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
`, a.Table, a.account), nil
}
