package conformance

import "slices"

// The cases of a group are in the file of its name: "get/absent" is in get.go. What several
// groups use is in files of its own, each named by what it holds.

// suite is the table of the cases for every Config. Those whose writes a service may still apply
// after the case come last, since the cases of a shared store would meet them.
var suite = slices.Concat(
	infoCases(),
	keyCases(),
	valueCases(),
	largeCases(),
	getCases(),
	putCases(),
	touchCases(),
	deleteCases(),
	updateCases(),
	atomicCases(),
	versionCases(),
	expiryCases(),
	scanCases(),
	pageCases(),
	countCases(),
	cursorCases(),
	groupCases(),
	batchCases(),
	driverCases(),
	jsonCases(),
	errorCases(),
	closeCases(),
	concurrencyCases(),
	contextCases(),
)

// faultSuite is the table of the cases that need Config.Faulty.
var faultSuite = func() []testCase {
	cases := slices.Concat(faultyWriteCases(), faultyTouchCases(), faultyUpdateCases(), faultyAtomicCases(), versionAfterRetryCases(), faultyBatchCases(), faultyReadCases(), driverFaultCases())
	for i := range cases {
		cases[i].faulty = true
	}
	return cases
}()

// cases are those that config has what they need for, and that it asks for.
func (config Config) cases() []testCase {
	cases := suite
	if config.Faulty != nil {
		cases = slices.Concat(suite, faultSuite)
	}
	if config.Only == nil {
		return cases
	}
	return slices.DeleteFunc(slices.Clone(cases), func(c testCase) bool { return !config.Only(c.Case) })
}
