"""Progress bars."""
import sys

from tqdm import tqdm


def progress_bar(*args, **more):
    """tqdm's, which goes away when it is done, on standard output: JupyterLab shows standard error on red, what is left of a bar too."""
    return tqdm(*args, file=sys.stdout, leave=False, delay=1, **more)
