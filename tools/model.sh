#!/bin/bash
# Verifies one model with spin: tools/model.sh FILE.pml
# A line "// pan: FLAGS" in the model gives flags for the verifier (-a, -m..., -f), a line
# "// cc: FLAGS" for its compilation (-DSAFETY, -DCOLLAPSE ...).
set -eu
model=$(realpath "$1")
pan=$(sed -n 's|^// pan: *||p' "$model")
cc=$(sed -n 's|^// cc: *||p' "$model")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
spin -a "$model"
# shellcheck disable=SC2086
gcc -O2 -w $cc -o pan pan.c
# shellcheck disable=SC2086
timeout 300 ./pan ${pan:--m1000000} >out || { cat out; exit 1; }
cat out
grep -q 'errors: 0' out
! grep -qi 'search depth too small\|search not completed' out
