"""Data sets and readers; they know no method."""

from contextlib import contextmanager


@contextmanager
def needs(extra):
    """Inside, a package that is not installed is an error that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; it comes with pip install '.[{extra}]'",
            name=error.name,
        ) from error
