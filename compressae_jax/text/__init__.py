"""Floor 1: from texts to vectors, by published sentence encoders as linen modules that can be trained on."""
