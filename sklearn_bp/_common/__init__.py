"""Tools for every layer above."""
