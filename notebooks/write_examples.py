"""Run the two notebooks that run_all.sh leaves alone, the explorer and one's own data, and write
their outputs into the committed notebooks.

python notebooks/write_examples.py $HMLC_DATA/GroceryStoreDataset/dataset/val
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import run
from hmlc_core import files
from study import published

PROFILE = "cpu"


def main(words=None):
    parser = argparse.ArgumentParser(
        prog="write_examples.py", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("photographs", help="a folder or csv, for your_own_data.ipynb")
    args = parser.parse_args(words)
    folder = Path(__file__).parent
    parameters = {"explorer": {}, "your_own_data": {"path": args.photographs}}
    notebooks = [folder / f"{name}.ipynb" for name in parameters]
    for path in notebooks:
        run.execute(path, files.DATA / "executed" / f"{PROFILE}-{path.name}", parameters[path.stem])
    published.publish(PROFILE, notebooks)
    print("Published:", ", ".join(path.name for path in notebooks), "- look at them.")


if __name__ == "__main__":
    main()
