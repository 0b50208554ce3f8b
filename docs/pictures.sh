#!/usr/bin/env bash
# Makes the pictures of README in docs/: IMDB_NPZ=imdb.npz docs/pictures.sh
# Needs the package, a free port and a Chromium, whose name may be given as CHROMIUM.
set -euo pipefail
docs=$(cd "$(dirname "$0")" && pwd)
logs=$(mktemp -d)
trap 'rm -rf "$logs"; kill %1 2>/dev/null || true' EXIT
cd "$logs"
python -m imdb_lightning -m '+experiment=glob(notebook/*)' hydra.sweep.dir=notebook
cp notebook/*shallow_relu_bce*/{loss,accuracy}.png "$docs"
tensorboard --logdir notebook --port 16006 >/dev/null 2>&1 &
until curl --silent --output /dev/null http://localhost:16006/data/runs; do sleep 0.5; done
"${CHROMIUM:-chromium}" --headless --no-sandbox --enable-unsafe-swiftshader --use-angle=swiftshader --hide-scrollbars \
    --window-size=1200,780 --virtual-time-budget=30000 --screenshot="$docs/tensorboard.png" \
    'http://localhost:16006/?darkMode=false#scalars' 2>/dev/null
