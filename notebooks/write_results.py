"""Write RESULTS.md and its pictures from the committed reference."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study import written

if __name__ == "__main__":
    print(f"wrote {written.write()}")
