"""The real servers that the end-to-end tests run against: how they are built, started and stopped."""
