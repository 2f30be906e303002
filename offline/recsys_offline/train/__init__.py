"""Training: from events to a published bundle."""
