package aztableskv

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/testing/emulator"
)

func TestMain(m *testing.M) { emulator.Main(m) }

// azurite returns a client of the emulator.
func azurite(t testing.TB) *aztables.ServiceClient {
	t.Helper()
	return azuriteAt(t, emulator.AzureTables(t))
}

// azuriteAt is like azurite, for an emulator at the given endpoint.
func azuriteAt(t testing.TB, endpoint string) *aztables.ServiceClient {
	t.Helper()
	cred, err := aztables.NewSharedKeyCredential(emulator.AzureAccount, emulator.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := aztables.NewServiceClientWithSharedKey(endpoint, cred, &aztables.ClientOptions{
		ClientOptions: policy.ClientOptions{Transport: &http.Client{Transport: newTransport()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newTable creates a table without a layout record, and returns its name.
func newTable(t testing.TB, client *aztables.ServiceClient) string {
	t.Helper()
	table := newTableName()
	if _, err := client.CreateTable(t.Context(), table, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := client.DeleteTable(context.Background(), table, nil); err != nil {
			t.Error(err)
		}
	})
	return table
}

func newTableName() string { return "t" + strings.ToLower(rand.Text()) }
