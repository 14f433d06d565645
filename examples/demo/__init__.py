"""The demonstration that `upland demo` runs: data from end to end, with labels kept aside."""
