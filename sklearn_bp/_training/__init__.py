"""Training: from a state to a result."""
