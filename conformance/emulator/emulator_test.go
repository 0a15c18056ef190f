package emulator_test

import (
	"errors"
	"testing"

	"github.com/skykv/skykv/conformance/emulator"
)

func TestMain(m *testing.M) { emulator.Main(m) }

// TestEach starts, or finds, an emulator of each kind. Then it names that emulator in the environment,
// and checks that Start returns it.
func TestEach(t *testing.T) {
	for kind, service := range map[emulator.Kind]struct {
		endpoint func(testing.TB) string
		variable string
	}{
		emulator.KindDynamoDB:    {emulator.DynamoDB, "SKYKV_DYNAMODB_ENDPOINT"},
		emulator.KindFirestore:   {emulator.Firestore, "SKYKV_FIRESTORE_ENDPOINT"},
		emulator.KindAzureTables: {emulator.AzureTables, "SKYKV_AZTABLES_ENDPOINT"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			endpoint := service.endpoint(t) // skips the test if the emulator cannot be started
			t.Setenv("SKYKV_EMULATOR", "")
			t.Setenv(service.variable, endpoint)
			for range 2 { // twice, to check that Stop leaves the emulator running
				e, err := emulator.Start(t.Context(), kind)
				if err != nil {
					t.Fatal(err)
				}
				if e.Kind != kind || e.Endpoint != endpoint || e.Way != "environment" {
					t.Errorf("got %s at %s (%s), want %s at %s (environment)", e.Kind, e.Endpoint, e.Way, kind, endpoint)
				}
				if err := e.Stop(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Setenv("SKYKV_EMULATOR", "off")
	if e, err := emulator.Start(t.Context(), emulator.KindDynamoDB); e != nil || !errors.Is(err, emulator.ErrUnavailable) {
		t.Errorf("SKYKV_EMULATOR=off: got %v, %v; want ErrUnavailable", e, err)
	}
	if e, err := emulator.Start(t.Context(), "redis"); e != nil || err == nil || errors.Is(err, emulator.ErrUnavailable) {
		t.Errorf("an unknown kind: got %v, %v; want an error other than ErrUnavailable", e, err)
	}
}
