"""What every layer above may use."""
