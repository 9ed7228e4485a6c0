"""Measuring: time, memory, the operation graph, path length, decoding, the machine's roof and the environment."""
