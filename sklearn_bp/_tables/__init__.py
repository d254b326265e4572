"""Tables: checking, encoding and scaling rows before training."""
