"""What a reader decided, in plain sentences: facts are noted, damage is also warned of."""

import warnings


class Notes(list):
    """Sentences about a data set, in the order in which they were found."""

    def warn(self, sentence):
        """Note it, and warn of it."""
        self.append(sentence)
        warnings.warn(sentence, stacklevel=2)


def some(names, most=3):
    """The first few names, and how many more there are: "a, b, c and 5 more"."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
