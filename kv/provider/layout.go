package provider

import "fmt"

// Layout names a way to store entries in the tables and collections of a service. It is
// the parameter "layout" of a URL, and a field in the Options of a provider. With the zero
// Layout, a provider opens only tables and collections that already have skykv's own layout,
// and sets up none. Ensure then sets up skykv's own layout.
type Layout string

const (
	// LayoutSkykv is skykv's own layout, which supports the whole contract.
	LayoutSkykv Layout = "skykv"

	// LayoutAlien is the layout of the Alien platform. Its programs in other
	// languages read and write the same entries.
	LayoutAlien Layout = "alien"
)

// Check returns an error unless l is the zero Layout, LayoutSkykv or LayoutAlien.
func (l Layout) Check() error {
	switch l {
	case "", LayoutSkykv, LayoutAlien:
		return nil
	}
	return fmt.Errorf("the layout is %q; want %s or %s", string(l), LayoutSkykv, LayoutAlien)
}

// Layout returns the value of a parameter that must name a layout, or the zero Layout if
// it is absent.
func (u *URL) Layout(name string) (Layout, error) {
	l := Layout(u.Get(name))
	if l.Check() != nil {
		return "", u.Errorf("parameter %q must be %s or %s", name, LayoutSkykv, LayoutAlien)
	}
	return l, nil
}
