package provider

import "fmt"

// Layout names how entries lie in the tables and collections of a service: in parameter
// "layout" of a URL, and in the Options of a provider. The zero Layout opens a table or
// collection in skykv's own layout if that was laid down in it before, and lays down
// none.
type Layout string

const (
	// LayoutSkykv is skykv's own, which carries the whole contract.
	LayoutSkykv Layout = "skykv"

	// LayoutAlien is the layout of the reference platform, Alien, whose programs in other
	// languages read and write the same entries.
	LayoutAlien Layout = "alien"
)

// Check refuses a Layout that is not one of the above. The zero Layout is one.
func (l Layout) Check() error {
	switch l {
	case "", LayoutSkykv, LayoutAlien:
		return nil
	}
	return fmt.Errorf("the layout is %q; want %s or %s", string(l), LayoutSkykv, LayoutAlien)
}

// Layout returns the value of a parameter that must name a layout, the zero Layout when
// it is absent.
func (u *URL) Layout(name string) (Layout, error) {
	l := Layout(u.Get(name))
	if l.Check() != nil {
		return "", u.Errorf("parameter %q must be %s or %s", name, LayoutSkykv, LayoutAlien)
	}
	return l, nil
}
