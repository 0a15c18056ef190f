// Package browser tests the pages of skykv ui in Chromium. It is a module of its own, so that
// the root module has nothing of what drives the browser.
package browser
