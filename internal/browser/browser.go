// Package browser tests the pages of skykv ui in Chromium. It is a separate module, so that
// the root module does not depend on the browser's driver.
package browser
