package service

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	apiv1 "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/firestorekv"
)

type firestore struct {
	docs       *apiv1.Client
	admin      *admin.FirestoreAdminClient
	noAccess   error // why there are no clients: no credentials were found
	project    string
	collection string
	database   string
	endpoint   string
	emulator   bool
}

// newFirestore reads the URL as firestorekv.Open does.
func newFirestore(ctx context.Context, rawURL string) (*firestore, error) {
	u, err := provider.ParseURL("firestore", "firestore://PROJECT/COLLECTION?database=ID&endpoint=URL", rawURL)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.Path == "" || strings.Contains(u.Path, "/") {
		return nil, u.Errorf("it must name a project and a root collection")
	}
	f := &firestore{project: u.Host, collection: u.Path, database: u.Get("database"), endpoint: "https://firestore.googleapis.com"}
	if f.database == "" {
		f.database = "(default)"
	}
	given, err := u.Endpoint("endpoint")
	if err != nil {
		return nil, err
	}
	var opts []option.ClientOption
	if given != "" {
		f.endpoint = given
		parsed, err := url.Parse(given)
		if err != nil {
			return nil, u.Errorf("the endpoint is no URL")
		}
		host := parsed.Host
		if f.emulator = parsed.Scheme == "http"; f.emulator {
			conn, err := grpc.NewClient("dns:///"+host, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return nil, u.Errorf("the endpoint has no host that can be connected to")
			}
			opts = append(opts, option.WithGRPCConn(conn))
		} else {
			if parsed.Port() == "" {
				host += ":443"
			}
			opts = append(opts, option.WithEndpoint(host))
		}
	}
	if f.docs, err = apiv1.NewClient(ctx, opts...); err == nil {
		f.admin, err = admin.NewFirestoreAdminClient(ctx, opts...)
	}
	f.noAccess = err
	return f, nil
}

func (f *firestore) Endpoint() string { return f.endpoint }

func (f *firestore) Close() {
	if f.docs != nil {
		_ = f.docs.Close()
	}
	if f.admin != nil {
		_ = f.admin.Close()
	}
}

// firestoreLogin is the fix of missing and of refused credentials.
const firestoreLogin = "log in by gcloud auth application-default login, with the role roles/datastore.user"

// Credentials checks that there are some; whether they are good shows in Settings.
func (f *firestore) Credentials(context.Context) []Check {
	if f.noAccess != nil {
		return []Check{failed("credentials", f.noAccess, firestoreLogin)}
	}
	return nil
}

func (f *firestore) databaseName() string {
	return "projects/" + f.project + "/databases/" + f.database
}

func (f *firestore) Settings(ctx context.Context) (checks []Check) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	record, err := f.layout(ctx)
	switch code := status.Code(err); {
	case code == codes.PermissionDenied || code == codes.Unauthenticated:
		return []Check{failed("credentials", err, firestoreLogin)}
	case code == codes.NotFound:
		return []Check{failed("database", err, "create it: gcloud firestore databases create --project "+f.project+" --location LOCATION")}
	case err != nil:
		return []Check{failed("database", err, "see the message")}
	}
	checks = append(checks, accepted, Check{Name: "database", Status: OK, Detail: f.database + " of project " + f.project + " answers"})
	checks = append(checks, f.fields(ctx)...)
	return append(checks, record)
}

// layout reads the layout document. The error tells that nothing could be read.
func (f *firestore) layout(ctx context.Context) (Check, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the client tries again until then
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "google-cloud-resource-prefix", f.databaseName())
	if f.emulator {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer owner")
	}
	name := f.databaseName() + "/documents/" + f.collection + "/skykv-layout"
	stream, err := f.docs.BatchGetDocuments(ctx, &firestorepb.BatchGetDocumentsRequest{Database: f.databaseName(), Documents: []string{name}})
	if err != nil {
		return Check{}, err
	}
	for {
		resp, err := stream.Recv()
		switch {
		case err != nil:
			return Check{}, err
		case resp.GetFound() != nil:
			if _, ok := resp.GetFound().GetFields()["format"]; !ok {
				return Check{Name: "layout", Status: Fail, Detail: "the document skykv-layout is not skykv's", Fix: "name another collection"}, nil
			}
			return layout(true, "a record of skykv"), nil
		case resp.GetMissing() != "":
			return layout(false, ""), nil
		}
	}
}

// fields checks the TTL policy and the index exemptions.
func (f *firestore) fields(ctx context.Context) (checks []Check) {
	for _, field := range []string{"x", "v", "t"} {
		have, err := f.admin.GetField(ctx, &adminpb.GetFieldRequest{Name: f.databaseName() + "/collectionGroups/" + f.collection + "/fields/" + field})
		switch status.Code(err) {
		case codes.OK, codes.NotFound:
		case codes.Unimplemented:
			return []Check{{Name: "fields", Status: OK, Detail: "an emulator has no TTL policies and index settings"}}
		case codes.PermissionDenied:
			return []Check{{Name: "fields", Status: Warn, Detail: "the settings cannot be looked at", Fix: "allow datastore.indexes.get, of the role roles/datastore.indexAdmin"}}
		default:
			return append(checks, failed("fields", err, "see the message"))
		}
		if field == "x" {
			checks = append(checks, ttlPolicy(have.GetTtlConfig()))
		}
		index := Check{Name: "index " + field, Status: OK, Detail: "field " + field + " is exempt from indexes"}
		if config := have.GetIndexConfig(); config == nil || len(config.GetIndexes()) > 0 || config.GetUsesAncestorConfig() {
			index.Status, index.Detail = Warn, "field "+field+" is indexed, which makes writes dearer and limits their rate"
			index.Fix, index.Step = provision, "exempt field "+field+" from indexes"
		}
		checks = append(checks, index)
	}
	return checks
}

func ttlPolicy(have *adminpb.Field_TtlConfig) Check {
	off := Check{
		Name: "ttl", Status: Warn, Detail: "no policy on field x: expired entries stay, and cost, for ever", Fix: provision,
		Step: "set a TTL policy on field x, with an expiration offset of one hour",
	}
	switch {
	case have == nil:
		return off
	case have.GetExpirationOffset().AsDuration() != time.Hour:
		off.Detail = fmt.Sprintf("the policy on field x has an expiration offset of %s, not of one hour", have.GetExpirationOffset().AsDuration())
		return off
	case have.GetState() == adminpb.Field_TtlConfig_NEEDS_REPAIR:
		off.Detail = "the policy on field x needs repair"
		return off
	}
	return Check{Name: "ttl", Status: OK, Detail: "a policy on field x, " + strings.ToLower(have.GetState().String())}
}

func (f *firestore) Provision(ctx context.Context) error {
	err := firestorekv.EnsureCollection(ctx, f.admin, f.project, f.collection, &firestorekv.Options{Database: f.database})
	if f.emulator && status.Code(err) == codes.Unimplemented {
		return nil // there is nothing to set
	}
	return err
}

func (f *firestore) Terraform() (string, error) {
	return fmt.Sprintf(`# The settings of firestore://%[1]s/%[3]s in database %[2]s, which exists.
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
      # A release with ttl_config.expiration_offset in google_firestore_field.
      version = ">= 7.0"
    }
  }
}

provider "google" {
  project = %[1]q
}

# Firestore deletes entries one hour after their expiry or later.
resource "google_firestore_field" "expiry" {
  database   = %[2]q
  collection = %[3]q
  field      = "x"

  ttl_config {
    expiration_offset = "3600s"
  }

  index_config {}
}

resource "google_firestore_field" "unindexed" {
  for_each   = toset(["v", "t"])
  database   = %[2]q
  collection = %[3]q
  field      = each.key

  index_config {}
}
`, f.project, f.database, f.collection), nil
}
