"""The one exception that means: the input is wrong, and here is what to do about it."""


class InputError(ValueError):
    """Bad input from the user: one line that says what is wrong, where, and what to do.

    Entry points print the line and leave with exit code 2; any other exception is a defect of
    the program and keeps its traceback.
    """
