package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// The bank has accounts in one group. The value under an account's key is the balance. An
// account without an entry has no money. A transfer is an AtomicWrite: it changes two
// accounts, on condition that nobody else has changed them, and writes a receipt that says who
// paid how much to whom.
const (
	bankAccounts = 6
	bankMoney    = 100 // in each account at the beginning
	bankReceipts = "bank::receipt:"
)

func bankAccount(i int) string { return fmt.Sprintf("bank::account:%d", i) }

func allAccounts() (keys []string) {
	for i := range bankAccounts {
		keys = append(keys, bankAccount(i))
	}
	return keys
}

const bankProgram = "bank"

func init() { memberPrograms[bankProgram] = bankClient }

// bankClient makes transfers, and now and then an audit, until ctx ends.
func bankClient(ctx context.Context, store *kv.Store, t task, say func(said)) error {
	rng := faults.Rand(t.Faults.Seed, fmt.Sprint(t.Number))
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%d.%d", t.Number, n)
		op := faults.WithOp(ctx, id)
		if n%4 == 3 {
			if sum, err := audit(op, store); err == nil {
				say(said{What: "sum", N: sum})
			}
			continue
		}
		transfer(op, store, rng, id, say)
	}
	return nil
}

// transfer moves money between two accounts.
func transfer(ctx context.Context, store *kv.Store, rng *rand.Rand, id string, say func(said)) {
	accounts := rng.Perm(bankAccounts)
	from, to := bankAccount(accounts[0]), bankAccount(accounts[1])
	entries, err := store.GetMany(ctx, []string{from, to})
	if err != nil || entries[from].Key == "" {
		return
	}
	has := balance(entries[from])
	if has < 1 {
		return
	}
	amount := has
	if rng.IntN(4) != 0 { // one transfer in four empties the account
		amount = 1 + rng.Int64N(has)
	}
	ops := []kv.Op{
		kv.PutOp(bankReceipts+id, fmt.Appendf(nil, "%s %s %d", from, to, amount), kv.IfNotExists()),
	}
	if rest := has - amount; rest > 0 {
		ops = append(ops, kv.PutOp(from, strconv.AppendInt(nil, rest, 10), kv.IfVersion(entries[from].Version)))
	} else {
		ops = append(ops, kv.DeleteOp(from, kv.IfVersion(entries[from].Version)))
	}
	var condition kv.ConditionOption = kv.IfNotExists()
	if entry := entries[to]; entry.Key != "" {
		condition = kv.IfVersion(entry.Version)
	}
	ops = append(ops, kv.PutOp(to, strconv.AppendInt(nil, balance(entries[to])+amount, 10), condition))
	say(said{ID: id, What: "begins"})
	switch _, err := store.AtomicWrite(ctx, ops...); {
	case err == nil:
		say(said{ID: id, What: "ok"})
	case errors.Is(err, kv.ErrIndeterminate):
		say(said{ID: id, What: "unknown", Why: err.Error()})
	default:
		say(said{ID: id, What: "no", Why: err.Error()})
	}
}

// balance returns the balance of an account. It is 0 if there is no entry. A value that is
// not a number counts as an amount that no account can have.
func balance(entry kv.Entry) int64 {
	n, err := strconv.ParseInt(string(entry.Value), 10, 64)
	if err != nil && entry.Key != "" {
		return 1e12
	}
	return n
}

// audit returns the sum of all accounts at one moment. Plain reads may see each account at
// a different moment. But if an AtomicWrite finds that all versions are still the same,
// there was a moment when all accounts had these values.
func audit(ctx context.Context, store *kv.Store) (sum int64, err error) {
	entries, err := store.GetMany(ctx, allAccounts())
	if err != nil {
		return 0, err
	}
	var checks []kv.Op
	for _, key := range allAccounts() {
		if entry, ok := entries[key]; ok {
			sum += balance(entry)
			checks = append(checks, kv.CheckOp(key, kv.IfVersion(entry.Version)))
		} else {
			checks = append(checks, kv.CheckOp(key, kv.IfNotExists()))
		}
	}
	_, err = store.AtomicWrite(ctx, checks...)
	return sum, err
}

// TestBank kills clients in the middle of their transfers. It checks that the money in the
// bank neither grows nor shrinks, and that each transfer took effect as a whole or not at
// all.
func TestBank(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) { testBank(t, w, Seed(t)) })
}

func testBank(t checking, w *world, seed uint64) {
	w.fillBank(t)
	rates := memberRates{Seed: seed, Rates: Rates}
	lives, days := 3, 1
	if long() {
		lives, days = 10, 10
	}
	books := &books{told: make(map[string]string)}
	for day := range days {
		w.Use(rates.plan())
		var working sync.WaitGroup
		for number := range clients {
			rng := faults.Rand(seed, "bank", fmt.Sprint(day, number))
			working.Go(func() {
				for life := range lives {
					m := w.join(t, bankProgram, task{Number: (day*lives+life)*clients + number, Faults: rates})
					left := 1 + rng.IntN(8) // the number of transfers; the client is killed in the last one
					for line := range m.lines {
						books.note(line)
						if line.What == "begins" {
							left--
						}
						if left == 0 {
							m.kill()
						}
					}
					m.wait()
				}
			})
		}
		working.Wait()
		w.Use(faults.Always(faults.Drop)) // after this no request of a killed client arrives
		books.check(t, w.direct)
	}
	t.Logf("%d transfers, of which %d are acknowledged and %d unknown; %d audits", len(books.told), books.count("ok"), books.count("begins")+books.count("unknown"), books.audits)
	if books.count("ok") == 0 || books.count("begins") == 0 && w.place.World != "" {
		t.Errorf("no transfer was acknowledged, or no client was killed in the middle of one: %v", books.told)
	}
}

func (w *world) fillBank(t checking) {
	for _, key := range allAccounts() {
		if _, err := w.direct.Put(t.Context(), key, strconv.AppendInt(nil, bankMoney, 10)); err != nil {
			t.Fatal(err)
		}
	}
}

// books has what is known from the reports of the clients of a bank.
type books struct {
	mu     sync.Mutex
	told   map[string]string // the last report about each transfer, by its ID
	audits int
	wrong  []string
}

func (b *books) note(line said) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case line.What != "sum":
		b.told[line.ID] = line.What
	case line.N != bankAccounts*bankMoney:
		b.wrong = append(b.wrong, fmt.Sprintf("rule: no AtomicWrite sees another one half done; an audit during transfers found %d", line.N))
	default:
		b.audits++
	}
}

func (b *books) count(what string) (n int) {
	for _, told := range b.told {
		if told == what {
			n++
		}
	}
	return n
}

// The method check compares the reports with the content of the store. Nobody may write during the
// check.
func (b *books) check(t checking, direct *kv.Store) {
	t.Helper()
	for _, wrong := range b.wrong {
		t.Errorf("%s", wrong)
	}
	ctx := t.Context()
	entries, err := direct.GetMany(ctx, allAccounts())
	if err != nil {
		t.Fatal(err)
	}
	sum, got := int64(0), make(map[string]int64)
	for _, key := range allAccounts() {
		got[key] = balance(entries[key])
		sum += got[key]
	}
	const want = bankAccounts * bankMoney
	if sum != want {
		t.Errorf("rule: an AtomicWrite is carried out as a whole or not at all; after the transfers GetMany finds %d, want %d", sum, want)
	}
	receipts, scanned := make(map[string]string), int64(0)
	for entry, err := range direct.Scan(ctx, "bank::") {
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := strings.CutPrefix(entry.Key, bankReceipts); ok {
			receipts[id] = string(entry.Value)
		} else {
			scanned += balance(entry)
		}
	}
	if scanned != want {
		t.Errorf("rule: an AtomicWrite is carried out as a whole or not at all; after the transfers Scan finds %d, want %d", scanned, want)
	}
	balances := make(map[string]int64)
	for _, key := range allAccounts() {
		balances[key] = bankMoney
	}
	for id, receipt := range receipts {
		var from, to string
		var amount int64
		if _, err := fmt.Sscan(receipt, &from, &to, &amount); err != nil || b.told[id] == "" {
			t.Errorf("there is a receipt of %q that reads %q: %v", id, receipt, err)
		}
		balances[from] -= amount
		balances[to] += amount
	}
	for key, want := range balances {
		if got[key] != want {
			t.Errorf("rule: an AtomicWrite is carried out as a whole or not at all; %s has %d, and %d according to the receipts", key, got[key], want)
		}
	}
	for id, told := range b.told {
		if _, paid := receipts[id]; paid && told == "no" || !paid && told == "ok" {
			t.Errorf("rule: an acknowledged write is stored, and one that failed is not; the client of transfer %s reported %q, and there is a receipt: %t", id, told, paid)
		}
	}
}

// TestBankFindsBrokenDrivers shows that the checks of the bank can fail.
func TestBankFindsBrokenDrivers(t *testing.T) {
	seed := Seed(t)
	for _, bug := range groupBugs[:4] { // these are the bugs of AtomicWrite
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for attempt := range uint64(20) {
				w := brokenWorld(t, bug.above, bug.below)
				if failures := failuresOf(t.Context(), func(c checking) { testBank(c, w, seed+attempt) }); failures != nil {
					t.Logf("found at attempt %d: %s", attempt, failures[0])
					return
				}
			}
			t.Errorf("rule: the bank finds a driver that %s", bug.name)
		})
	}
}
