// Package conformance proves that a provider keeps the contract of [kv.Store]:
// a table of cases, each with the rule that it checks.
package conformance
