#!/bin/bash
# Runs pytest on each of the folders, two at a time: they wait for others more than they compute. Each tells what it has
# to say when it has ended. Ends with an error if one of them does.
set -euo pipefail
printf '%s\0' "$@" | xargs -0 -P 2 -n 1 bash -c '
  told=$(python -m pytest "$0" 2>&1) && code=0 || code=$?
  printf "%s\n" "$told"
  exit "$code"'
