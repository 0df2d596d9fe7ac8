"""Floor 2: from a source of vectors to a trained model."""
