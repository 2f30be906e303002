"""Benchmarks: each writes a file of figures that anybody can make again."""
