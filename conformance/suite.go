package conformance

import "slices"

// The cases of a group are in the file of its name: "get/absent" is in get.go. Code for several
// groups has its own files, named by their content.

// suite has the cases for every Config. Cases whose writes a service may still apply after the
// case come last, because these writes would disturb later cases of a shared store.
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

// faultSuite has the cases that need Config.Faulty.
var faultSuite = func() []testCase {
	cases := slices.Concat(faultyWriteCases(), faultyTouchCases(), faultyUpdateCases(), faultyAtomicCases(), versionAfterRetryCases(), faultyBatchCases(), faultyReadCases(), driverFaultCases())
	for i := range cases {
		cases[i].faulty = true
	}
	return cases
}()

// cases returns the cases that config selects and can run.
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
