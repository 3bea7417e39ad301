"""Tests of the core: pure functions, tables of cases, properties."""
