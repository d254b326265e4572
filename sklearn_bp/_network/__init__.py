"""The network: its parameters, its kernel and the rows that go through it."""
