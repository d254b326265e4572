"""Benchmarks: the same work in several libraries, timed side by side."""
