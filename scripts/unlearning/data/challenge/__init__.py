"""The paper's data: sequences of the Training Data Extraction Challenge and the NLP suite.

`published` knows where each file stands and reads it, from a mirror or from its source; `tasks`
turns published tasks into items of the suite; `parts` gives the sequences their parts.
"""
