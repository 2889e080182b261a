"""Privacy attacks on unlearned models, one file each."""
