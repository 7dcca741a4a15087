"""The network, its weights, its use on a map, its training."""
