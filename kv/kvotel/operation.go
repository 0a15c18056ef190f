package kvotel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/skykv/skykv/kv"
)

// The names of operations.
const (
	opGet         = "get"
	opScan        = "scan"
	opPut         = "put"
	opDelete      = "delete"
	opTouch       = "touch"
	opCheck       = "check"
	opAtomicWrite = "atomic_write"
	opBatch       = "BATCH"
	opUnknown     = "unknown"
)

// batchNames are the names of operations of one kind on several keys.
var batchNames = map[string]string{opGet: "BATCH get", opPut: "BATCH put", opDelete: "BATCH delete", opTouch: "BATCH touch"}

// batchName returns the name of a batch of n operations that are called name. It is name itself
// if n is 1, or if batchNames has no entry for it.
func batchName(name string, n int) string {
	if batch, ok := batchNames[name]; ok && n > 1 {
		return batch
	}
	return name
}

// nameOfAll returns the name of a batch of writes.
func nameOfAll(writes []kv.Write) string {
	name := opBatch
	for i, w := range writes {
		if i > 0 && w.Kind != writes[0].Kind {
			return opBatch
		}
		name = nameOf(w.Kind)
	}
	return batchName(name, len(writes))
}

func nameOf(kind kv.WriteKind) string {
	switch kind {
	case kv.KindPut:
		return opPut
	case kv.KindDelete:
		return opDelete
	case kv.KindTouch:
		return opTouch
	case kv.KindCheck:
		return opCheck
	}
	return opUnknown
}

// The outcomes of operations.
const (
	outcomeFound           = "found"
	outcomeAbsent          = "absent"
	outcomeDone            = "done"
	outcomeConditionFailed = "condition_failed"
	outcomeStopped         = "stopped" // the loop over the results ended early, or the driver panicked
	outcomeError           = "error"
)

// operation is one request of a store to its driver that an observer reports.
type operation struct {
	name  string
	write bool
	batch int // number of keys in a batch, otherwise 0

	// The keys are in one of the next three fields. For a scan, keys has both ends of its range.
	key    string
	keys   []string
	writes []kv.Write

	meter          *kv.Meter
	records        int // number of records read
	sent, received int // bytes of values

	outcome        string
	err            error // the last error
	mayHaveApplied bool  // a write failed, but may have been applied

	// For the observer's own use.
	span  trace.Span
	began time.Time
}

// count returns a meter for the request. The meter also adds its counts to outer.
func (op *operation) count(outer *kv.Meter) *kv.Meter {
	op.meter = kv.NewMeter(outer)
	return op.meter
}

// The method asks is called with the writes of a batch or of an AtomicWrite.
func (op *operation) asks(writes []kv.Write) {
	op.write, op.writes, op.batch = true, writes, len(writes)
	for _, w := range writes {
		op.sent += len(w.Value)
	}
}

// The method read is called with a record that was read, or with the error of the read.
func (op *operation) read(rec kv.Record, exists bool, err error) {
	switch {
	case err != nil:
		op.err = err
	case exists:
		op.records++
		op.received += len(rec.Value)
	}
}

// The method wrote is called with the result of a write, of an AtomicWrite, or of one write of a
// batch.
func (op *operation) wrote(done, mayHaveApplied bool, err error) {
	switch {
	case err != nil:
		own, ok := err.(*kv.Error)
		op.err, mayHaveApplied = err, !ok || own.MayHaveApplied
	case !done:
		op.outcome = outcomeConditionFailed
	case op.outcome == "":
		op.outcome = outcomeDone
	}
	op.mayHaveApplied = op.mayHaveApplied || mayHaveApplied
}

// result returns the outcome of the operation.
func (op *operation) result() string {
	switch {
	case op.err != nil:
		return outcomeError
	case op.outcome == "":
		return outcomeStopped
	}
	return op.outcome
}

// If keys is true, description returns the text of the error, which may name keys. Otherwise it
// returns the error's type.
func (op *operation) description(keys bool) string {
	if keys {
		return op.err.Error()
	}
	return op.errorType()
}

// The attributes that are not in the conventions.
const (
	keyOutcome        = attribute.Key("skykv.outcome")
	keyRequests       = attribute.Key("skykv.requests")
	keyAttempts       = attribute.Key("skykv.attempts")
	keyRecords        = attribute.Key("skykv.records")
	keySent           = attribute.Key("skykv.sent")
	keyReceived       = attribute.Key("skykv.received")
	keyMayHaveApplied = attribute.Key("skykv.may_have_applied")
	keyKeys           = attribute.Key("skykv.keys")
)

// attributes returns the attributes of an operation that has ended.
func (op *operation) attributes(keys bool) []attribute.KeyValue {
	all := make([]attribute.KeyValue, 0, 9)
	all = append(all, keyOutcome.String(op.result()), keyRequests.Int(op.meter.Requests()), keyAttempts.Int(op.meter.Attempts()))
	if op.batch > 1 {
		all = append(all, semconv.DBOperationBatchSize(op.batch))
	}
	if op.write {
		all = append(all, keySent.Int(op.sent))
	} else {
		all = append(all, keyRecords.Int(op.records), keyReceived.Int(op.received))
	}
	if op.err != nil {
		all = append(all, semconv.ErrorTypeKey.String(op.errorType()))
	}
	if op.mayHaveApplied {
		all = append(all, keyMayHaveApplied.Bool(true))
	}
	if keys {
		all = append(all, keyKeys.StringSlice(op.allKeys()))
	}
	return all
}

// allKeys returns the keys of the operation.
func (op *operation) allKeys() []string {
	switch {
	case op.keys != nil:
		return op.keys
	case op.writes == nil:
		return []string{op.key}
	}
	keys := make([]string, len(op.writes))
	for i, w := range op.writes {
		keys[i] = w.Key
	}
	return keys
}

// errorTypes has values of error.type for the kinds of errors that drivers return. The first kind
// that an error matches counts. For an error that matches none, the value is _OTHER.
var errorTypes = []struct {
	err  error
	text string
}{
	{kv.ErrClosed, "closed"},
	{kv.ErrThrottled, "throttled"},
	{kv.ErrUnavailable, "unavailable"},
	{kv.ErrPermission, "permission_denied"},
	{kv.ErrNotProvisioned, "not_provisioned"},
	{kv.ErrIncompatible, "incompatible"},
	{kv.ErrInvalidVersion, "invalid_version"},
	{kv.ErrUnsupported, "unsupported"},
	{kv.ErrValueTooLarge, "value_too_large"},
	{context.DeadlineExceeded, "deadline_exceeded"},
	{context.Canceled, "canceled"},
}

// errorType returns the error.type of an operation that failed, or "" if it did not fail.
func (op *operation) errorType() string {
	if op.err == nil {
		return ""
	}
	for _, t := range errorTypes {
		if errors.Is(op.err, t.err) {
			return t.text
		}
	}
	return "_OTHER"
}
