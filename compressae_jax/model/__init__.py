"""Floor 1: vector to code and back."""
