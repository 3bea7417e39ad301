"""End to end: Sluice from outside, on real servers."""
