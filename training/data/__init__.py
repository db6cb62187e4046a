"""Training pictures: found, read, kept in memory and cropped; and pictures that are drawn."""
