#!/bin/bash
# Each allocation fails in turn: tools/faults.sh BUILD [SCRIPT...]
#
# BUILD is a build with FAULTS=1, best with SAN=address as well: then what an error path leaks or
# uses after its end is found too. Every script (spec/fault/*.lua) is run again and again with
# LUA_POOL_FAULT=1, 2, 3 ...: it must end by itself, either well or with an ordinary Lua error, and
# never crash, hang or leak. A script has seen all its allocations when it ended well ENOUGH times
# in a row.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1%/}
shift
enough=${ENOUGH:-40}
most=${MOST:-3000}
[ $# -gt 0 ] || set -- spec/fault/*.lua
case $build in
build/jit*) lua=luajit ;;
*) lua=lua5.4 ;;
esac
name=$lua # as it calls itself in its errors
case $build in
*-address*)
	export LUA_POOL_REAL_LUA=$lua
	LUA_POOL_PRELOAD=$(realpath "$(gcc -print-file-name=libasan.so)"):$PWD/$build/unpreload.so
	ASAN_OPTIONS=exitcode=66:detect_leaks=${LEAKS:-1}
	LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tools/lsan.supp
	export LUA_POOL_PRELOAD ASAN_OPTIONS LSAN_OPTIONS
	lua=tools/sanlua.sh
	;;
esac
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0
for script; do
	[ -e "$script" ] || continue
	row=0 n=0 errors=0 bad=0
	while [ $row -lt "$enough" ] && [ $n -lt "$most" ]; do
		{ timeout -k 2 30 tools/env.sh "$build" env LUA_POOL_FAULT=$n $lua "$script" >"$out" 2>&1 </dev/null; } 2>/dev/null
		status=$?
		if [ $status = 0 ]; then
			row=$((row + 1))
		else
			row=0
			errors=$((errors + 1))
			# An ordinary error: lua says what and where, and answers 1.
			if [ $status != 1 ] || ! grep -q "^$name: " "$out"; then
				bad=$((bad + 1))
				echo "FAIL $script with LUA_POOL_FAULT=$n: exit status $status"
				tail -n 40 "$out" | head -c 4000
				[ $bad -lt 5 ] || break
			fi
		fi
		n=$((n + 1))
	done
	if [ $bad -gt 0 ]; then
		failed=1
		[ -z "${COUNTS:-}" ] || echo "0 1" >>"$COUNTS"
	else
		echo "ok   $script: $n runs, $errors of them ended with an error, none badly"
		[ -z "${COUNTS:-}" ] || echo "1 0" >>"$COUNTS"
	fi
done
exit $failed
