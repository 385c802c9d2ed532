#!/usr/bin/env bash
# What a GPU has to show, in calls of under ten minutes that go on where the last one stopped. See: bash benchmarks/on_gpu.sh --help
set -euo pipefail
HMLC_EXTRAS=notebooks,test
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# Whether all is there that the script itself needs.
"$PYTHON" -c 'import pytest' 2>/dev/null && "$PYTHON" benchmarks/on_gpu.py --help >/dev/null 2>&1 || install_packages
export TORCHINDUCTOR_FORCE_DISABLE_CACHES=1 # the time to compile is that of a first time
exec "$PYTHON" benchmarks/on_gpu.py "$@"
