package provider

import "fmt"

// Layout names how entries are stored in the tables and collections of a service. It is
// the parameter "layout" of a URL, and in the Options of a provider. The zero Layout
// opens a table or collection that already has skykv's own layout, and sets up no layout.
type Layout string

const (
	// LayoutSkykv is skykv's own layout, which supports the whole contract.
	LayoutSkykv Layout = "skykv"

	// LayoutAlien is the layout of the reference platform, Alien. Its programs in other
	// languages read and write the same entries.
	LayoutAlien Layout = "alien"
)

// Check returns an error for a Layout other than these. The zero Layout is legal.
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
