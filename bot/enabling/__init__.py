"""Enabling a project: eight named steps, each in a module of its own, each safe to be carried out again."""
