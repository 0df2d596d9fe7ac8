"""Floor 5: one page without a server that shows what the latents of an index mean; `door.explore` writes it."""
