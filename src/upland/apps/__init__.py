"""Leaves: programs for people and scripts. They use the library and nothing uses them."""
