package conformance

func brokenStores() []fault { return nil }
