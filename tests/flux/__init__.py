"""The cluster's client and the observer, against servers that speak the Kubernetes API."""
