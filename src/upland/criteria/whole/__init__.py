"""What may be wrong with a whole sequence: parts with an energy, and a share of it for every value.

* `convolutions`: what random kernels of several widths see in it, on average over the steps
* `aligned`: the distance to the nearest normal sequence, after alignment in time
* `summaries`: level, range, spread and spectrum of each channel
* `values`: the values themselves, at the same positions

`upland.criteria.whole.experts` joins them with the score test.
"""
