// Package recipes has short solutions to problems of many applications, built on a store. Each
// recipe is in its own file. The tests run them all.
package recipes
