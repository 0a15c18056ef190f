// Package browser tests the pages of "skykv ui" in Chromium. It is a module of its own, so
// that the root module does not depend on the library that drives the browser.
package browser
