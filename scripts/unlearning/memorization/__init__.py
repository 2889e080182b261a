"""What a model has memorized of a sequence, g(x), EL_n, loss, runs, and when it is forgotten."""
