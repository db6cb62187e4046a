"""Symbols to bits and back, from integer probabilities: numpy and a range coder, no torch."""
