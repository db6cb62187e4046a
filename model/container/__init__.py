"""The .cwic file: bytes only, no torch and no pictures."""
