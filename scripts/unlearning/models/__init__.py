"""A causal language model and how to run it: loading, training, reading, sharding."""
