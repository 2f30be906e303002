"""Offline jobs: import, check, train, evaluate, publish."""
