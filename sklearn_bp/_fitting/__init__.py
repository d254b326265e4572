"""From a table and parameters to a fitted network."""
