"""The default profile: a block transform with a learned branch, codes of many levels, one for all rates."""
