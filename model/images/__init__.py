"""Picture files to arrays and back. Pillow only: no torch."""
