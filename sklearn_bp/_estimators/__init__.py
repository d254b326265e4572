"""The two classes."""
