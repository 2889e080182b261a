"""Your own sequences: from files and a model that knows them to the parts of the experiment.

`files` reads a file row by row, `parts` gives the rows their parts.
"""
