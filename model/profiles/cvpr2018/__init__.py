"""The paper's codec, layer for layer: binary codes, its quantiser and mask with their gradients."""
