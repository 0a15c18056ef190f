// Package recipes has what many applications build on a store, in a few lines each: one file
// for each recipe. Its tests run them.
package recipes
