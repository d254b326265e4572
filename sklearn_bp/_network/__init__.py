"""The network: its parameters, its kernel, its batches."""
