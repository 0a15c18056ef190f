package emulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	readyWithin  = 90 * time.Second // time from the start of the program to its first response, which takes 4 s on an idle machine
	namedWithin  = 10 * time.Second // time for an emulator that should already run to respond
	probeTimeout = 5 * time.Second  // time of one request; the first request to a JVM takes long
	probeEvery   = 50 * time.Millisecond
)

// ready calls probe until it succeeds. It returns an error if the channel ended is closed first, if ctx ends first, or
// if the duration readyWithin passes first. The channel may be nil.
func ready(ctx context.Context, ended <-chan struct{}, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("no answer within %v", readyWithin))
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, probeTimeout)
		err := probe(once)
		cancel()
		if err == nil {
			select {
			case <-ended: // the emulator has ended, so another program answered
			default:
				return nil
			}
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

var errEnded = errors.New("it ended before it answered")

// probeDynamoDB lists tables. DynamoDB Local requires a signature but does not check it. Other servers that speak
// its protocol also require a valid form and date.
func probeDynamoDB(ctx context.Context, endpoint string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", strings.NewReader(`{"Limit":1}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
	now := time.Now().UTC()
	req.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=skykv/"+now.Format("20060102")+
		"/us-east-1/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="+strings.Repeat("0", 64))
	return expectOK(http.DefaultClient, req)
}

// probeAzureTables lists tables with Azurite's default account, because an emulator with another account
// cannot be used.
func probeAzureTables(ctx context.Context, endpoint string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/Tables?$top=1", nil)
	if err != nil {
		return err
	}
	signAzure(req)
	return expectOK(http.DefaultClient, req)
}

// signAzure signs a request with the key of Azurite's default account, as Shared Key Lite for tables:
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
func signAzure(req *http.Request) {
	date := time.Now().UTC().Format(http.TimeFormat)
	req.Header.Set("X-Ms-Date", date)
	req.Header.Set("X-Ms-Version", "2019-02-02")
	req.Header.Set("Accept", "application/json;odata=nometadata")
	key, err := base64.StdEncoding.DecodeString(AzureKey)
	if err != nil {
		panic(err) // impossible: the key is a constant
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n/%s%s", date, AzureAccount, req.URL.EscapedPath())
	req.Header.Set("Authorization", fmt.Sprintf("SharedKeyLite %s:%s", AzureAccount, base64.StdEncoding.EncodeToString(mac.Sum(nil))))
}

// probeFirestore lists the collections of an empty project by gRPC. It frames the message itself, because a client
// would need all of Google's libraries for one request.
func probeFirestore(ctx context.Context, endpoint string) error {
	const parent = "projects/skykv-probe/databases/(default)/documents"
	message := append([]byte{1<<3 | 2, byte(len(parent))}, parent...) // ListCollectionIdsRequest.parent
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	target := url.URL{Scheme: "http", Host: endpoint, Path: "/google.firestore.v1.Firestore/ListCollectionIds"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(append(frame, message...)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set("Authorization", "Bearer owner")

	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" { // if there is no body, the status is in the headers
		status = resp.Header.Get("Grpc-Status")
	}
	if resp.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("HTTP status %s, gRPC status %q", resp.Status, status)
	}
	return nil
}

func expectOK(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return nil
}
