"""A training run: stages, steps, saved state, validation, and what its end is calibrated with."""
