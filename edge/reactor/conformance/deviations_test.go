package conformance_test

var gwsDeviations = deviations{}

var coderDeviations = deviations{}
