#!/bin/bash
# Verifies one model with spin: tools/model.sh FILE.pml
# A line "// pan: FLAGS" in the model gives flags for the verifier (-a, -m..., -f), a line
# "// cc: FLAGS" for its compilation (-DSAFETY, -DCOLLAPSE ...). A line "// bugs: NAME..." names macros
# that break the model: with each of them the verifier has to find an error, else the model proves nothing.
set -eu
model=$(realpath "$1")
pan=$(sed -n 's|^// pan: *||p' "$model")
cc=$(sed -n 's|^// cc: *||p' "$model")
bugs=$(sed -n 's|^// bugs: *||p' "$model")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

verify() { # verify [-DNAME]: leaves what the verifier said in `out`
	spin "$@" -a "$model" >spin.out || { cat spin.out; exit 1; }
	# shellcheck disable=SC2086
	gcc -O2 -w $cc -o pan pan.c
	# shellcheck disable=SC2086
	timeout 300 ./pan ${pan:--m1000000} >out || { cat out; exit 1; }
}

verify
cat out
grep -q 'errors: 0' out
! grep -qi 'search depth too small\|search not completed' out
for bug in $bugs; do
	verify "-D$bug"
	if grep -q 'errors: 0' out; then
		echo "the seeded bug $bug was not found"
		exit 1
	fi
	echo "the seeded bug $bug was found: $(grep -m 1 '^pan:1:' out || echo 'it never ends')"
done
