"""Tables of rows: what is learnt of their columns before any training."""
