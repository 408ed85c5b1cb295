"""From a head's probabilities to people's pixels: paste, arbitrate, fuse, draw."""
