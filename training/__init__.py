"""Makes and measures checkpoints."""
