package seal

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// AEAD encrypts values and authenticates them together with associated data. [Keys]
// implements it, and so does a tink.AEAD of github.com/tink-crypto/tink-go. The methods are
// called concurrently, and must not change their arguments.
//
// If an error is or wraps a *kv.Error, the store's error has the same Kind, such as
// kv.ErrUnavailable. Otherwise, if Decrypt returns an error that matches [ErrNoKey] or
// [ErrWrongKey], the store's error matches it too. After any other error of Decrypt, the
// store's error matches [ErrTampered]. The store's errors contain the messages of these errors,
// so the messages must contain neither a value nor an encryption key.
type AEAD interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

// Options are the options of Values. Nil means the zero Options.
type Options struct {
	// Compress compresses values with zstd before they are sealed, if that makes them
	// shorter. A store can read compressed values with or without this option. Do not use it
	// for values that contain both a secret and text that somebody else chooses: anybody who
	// sees the lengths of several such values learns how much the secret and the text have in
	// common.
	Compress bool
}

// Values returns an option for [kv.Store.With] that seals the values of the store with aead.
// opts may be nil. Values seals one empty value to find out how much longer values become, and
// returns the error if that fails. It returns kv.ErrInvalidOption if aead is nil, a nil *Keys, or
// the zero Keys. The Info of the sealed store says how long its values may be.
func Values(aead AEAD, opts *Options) (kv.StoreOption, error) {
	if keys, ok := aead.(*Keys); aead == nil || ok && (keys == nil || keys.primary == nil) {
		return nil, invalid("the AEAD is nil, or Keys without keys; want the Keys of NewKeys or another AEAD")
	}
	s := &scheme{aead: aead}
	empty, err := s.seal("", nil)
	if err != nil {
		return nil, err
	}
	s.compress = opts != nil && opts.Compress
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return newDriver(d, s, len(empty)) }), nil
}

// driver seals the values of another driver.
type driver struct {
	kv.Driver
	scheme *scheme
	info   kv.Info
	most   int // greatest length of a sealed value
}

func newDriver(d kv.Driver, s *scheme, overhead int) *driver {
	info := d.Info()
	most := info.MaxValueLen
	info.MaxValueLen -= overhead
	if _, local := s.aead.(*Keys); !local {
		info.EndsCalls, info.Immediate = false, false // the AEAD may ask a service
	}
	return &driver{Driver: d, scheme: s, info: info, most: most}
}

func (d *driver) Info() kv.Info { return d.info }

// stored returns a key as it is stored. The result is the same whether the namespace was made
// before or after the store was sealed.
func (d *driver) stored(key string) string { return d.info.Namespace + key }

// seal seals the value of a write. It returns an error for unknown kinds of writes, because it
// does not know how these use values.
func (d *driver) seal(w kv.Write) (kv.Write, error) {
	switch w.Kind {
	case kv.KindPut:
		value, err := d.scheme.seal(d.stored(w.Key), w.Value)
		if err != nil {
			return w, err
		}
		if len(value) > d.most {
			return w, &kv.Error{Kind: kv.ErrValueTooLarge, Err: fmt.Errorf("the sealed value has %d bytes; it must have at most %d", len(value), d.most)}
		}
		w.Value = value
	case kv.KindDelete, kv.KindTouch, kv.KindCheck:
	default:
		return w, kv.UnsupportedWrite(w)
	}
	return w, nil
}

// open opens the value of a record that was read.
func (d *driver) open(rec kv.Record, withValue bool) (kv.Record, error) {
	if !withValue {
		rec.Value = nil
		return rec, nil
	}
	value, err := d.scheme.open(d.stored(rec.Key), rec.Value)
	if err != nil {
		return kv.Record{Key: rec.Key}, err
	}
	rec.Value = value
	return rec, nil
}

// openFound opens the value of a record that made a condition fail. If the value cannot be
// opened, openFound sets it to nil. A store that needs the value then reads the record, and
// gets the error.
func (d *driver) openFound(rec *kv.Record) {
	if rec.Value != nil {
		rec.Value, _ = d.scheme.open(d.stored(rec.Key), rec.Value)
	}
}

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	found, err := d.Driver.Get(ctx, req)
	if err == nil && found.Exists {
		found.Record, err = d.open(found.Record, req.WithValue)
	}
	return found, err
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		for found, err := range d.Driver.GetMany(ctx, req) {
			if err == nil && found.Exists {
				found.Record, err = d.open(found.Record, req.WithValue)
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	reseals := false
	if r, _ := ctx.Value(resealKey{}).(*reseal); r != nil {
		r.sealed.Store(true)
		reseals = true
		ctx = context.WithValue(ctx, resealKey{}, (*reseal)(nil)) // hides the reseal from a second seal driver that this one wraps
	}
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, req) {
			if err == nil {
				if reseals && d.scheme.isCurrent(rec.Value) {
					continue
				}
				rec, err = d.open(rec, req.WithValue)
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	w, err := d.seal(req.Write)
	if err != nil {
		return kv.Outcome{}, err
	}
	req.Write = w
	out, err := d.Driver.Write(ctx, req)
	d.openFound(&out.Found)
	return out, err
}

func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	writes := make([]kv.Write, 0, len(req.Writes))
	for i, w := range req.Writes {
		if w, results[i].Err = d.seal(w); results[i].Err == nil {
			writes = append(writes, w)
		}
	}
	if len(writes) == 0 {
		return results
	}
	req.Writes = writes
	sent := d.Driver.WriteMany(ctx, req)
	for i := range results {
		if results[i].Err != nil {
			continue // the write was not sealed, and not sent
		}
		if len(sent) == 0 {
			return results[:i] // the driver returned no result for this write
		}
		results[i], sent = sent[0], sent[1:]
		d.openFound(&results[i].Found)
	}
	return results
}

func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	req.Writes = slices.Clone(req.Writes)
	for i, w := range req.Writes {
		var err error
		if req.Writes[i], err = d.seal(w); err != nil {
			return kv.AtomicOutcome{}, err
		}
	}
	out, err := d.Driver.WriteAtomic(ctx, req)
	for _, found := range out.Found {
		if found != nil {
			d.openFound(&found.Record)
		}
	}
	return out, err
}
