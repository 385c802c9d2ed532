"""The examples in the pages run as they stand. (Numbers in the pages: test_written.)"""

import re

import pytest
from conftest import ROOT


@pytest.mark.parametrize("page", ["README.md", "docs/library.md", "docs/clusters.md"])
def test_examples_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(block, {"__name__": "__main__"})
