"""Write README.md, RESULTS.md, docs/what_we_learned.md and their pictures from the reference."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study import written

if __name__ == "__main__":
    print("wrote", *written.write())
