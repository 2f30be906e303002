"""A two-stage recommender: pure functions and values. No clock, no environment, no sockets."""
