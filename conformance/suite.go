package conformance

import "slices"

// The cases of a group are in the file with the group's name: "get/absent" is in get.go. The cases
// of the group "faults" are also in files such as faults_touch.go. Code for several groups is in
// other files, with names that say what it does.

// suite has the cases that run with every Config. The cases that cancel writes come last,
// because a service may still apply a cancelled write after the case has ended. In a shared
// store such a write could make a later case fail.
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

// cases returns the cases that config selects.
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
