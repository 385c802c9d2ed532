#!/usr/bin/env bash
# Regenerates every table and figure: runs the notebooks in order, headless.
# See: bash run_all.sh --help
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# 100: it was asked for help, and gave it. Ctrl-C is answered by the trap of environment.sh.
(trap '' INT && exec "$PYTHON" notebooks/study/options.py "$@") || exit $(($? % 100))
install_packages
trap '' INT # until notebooks/run.py answers it
exec "$PYTHON" notebooks/run.py "$@"
