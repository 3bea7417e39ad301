"""The sandbox: a forge and a cluster to try Sluice on, and to test it with."""
