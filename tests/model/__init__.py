"""The chain as a model, played thousands of times."""
