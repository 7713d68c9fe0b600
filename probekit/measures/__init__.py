"""The arithmetic of all probes, in plain functions on arrays: no model, no data set, no labels.

One file per subject. Functions take and return NumPy arrays; those that must run where the model runs (`attention`)
or that are dominated by matrix products (`classify`, `fsim`, `knn`) use torch inside. Whatever is impossible (an image
below the window, a constant representation, one class) raises `ProbeError`, so that the caller can record why.
Sums that decide a number are held in float64: batch size and order do not move results beyond rounding.
"""
