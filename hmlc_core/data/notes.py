"""What a reader decided, in plain sentences: facts are noted, damage is also warned of."""

import re
import warnings

NOT_UTF8 = re.compile("[\ud800-\udfff]")  # how Python keeps bytes of names that are not


class Notes(list):
    """Sentences about a data set, in the order in which they were found."""

    def append(self, sentence):
        super().append(legible(sentence))

    def warn(self, sentence):
        """Note it, and warn of it."""
        self.append(sentence)
        warnings.warn(self[-1], stacklevel=2)


def legible(text):
    """Text that can be written and drawn: bytes that are not UTF-8 (names out of old archives) are
    read as those of Windows."""
    return NOT_UTF8.sub(_of_windows, text)


def _of_windows(found):
    byte = ord(found[0]) - 0xDC00
    return bytes([byte]).decode("cp1252", "replace") if 0x80 <= byte <= 0xFF else "\ufffd"


def some(names, most=3):
    """The first few names, and how many more there are: "a, b, c and 5 more"."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
