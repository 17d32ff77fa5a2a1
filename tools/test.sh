#!/bin/bash
# Runs tests and counts them: tools/test.sh BUILD [FILE...]
#
# BUILD is a folder as `make tests` leaves it. Without files: every spec/**/*_spec.lua, and the C
# programs in BUILD/c and BUILD/host. Every file runs in a process of its own with a time limit, so
# a crash or a hang is one file's failure, is named, and does not stop the rest.
#
#   TIME_LIMIT=s  per file (120; ten times that under valgrind)
#   UNDER=cmd     puts a command before the interpreter (valgrind ...)
#   COUNTS=file   appends "passed failed" for each file
#   C_TESTS=no    Lua specs only;  C_TESTS=only  the C programs only
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1%/}
shift

case $build in
build/jit*) lua=${LUA_EXE:-luajit} ;;
*) lua=${LUA_EXE:-lua5.4} ;;
esac
limit=${TIME_LIMIT:-120}

# What a sanitizer needs in a program that was built without it: its runtime, loaded first.
env=()
prefix=()
runtime=
case $build in
*-address*)
	sanitizer=address
	runtime=$(gcc -print-file-name=libasan.so)
	env+=("ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:exitcode=66:detect_stack_use_after_return=0:${ASAN_OPTIONS:-}"
		"UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}")
	;;
*-thread*)
	sanitizer=thread
	runtime=$(gcc -print-file-name=libtsan.so)
	env+=("TSAN_OPTIONS=exitcode=66:second_deadlock_stack=1:die_after_fork=0:report_thread_leaks=0:suppressions=$PWD/tools/tsan.supp:${TSAN_OPTIONS:-}")
	# Its shadow memory wants the addresses that a much randomised layout may take.
	if setarch -R true 2>/dev/null; then prefix+=(setarch -R); fi
	;;
esac

# DEPS=no may have left us without busted.
if [ "${C_TESTS:-}" != only ] && ! "$lua" -e 'require "busted.runner"' >/dev/null 2>&1; then
	echo "lua-pool: no busted for $lua (Debian: apt-get install lua-busted $lua), so no spec can run" >&2
	exit 1
fi

if [ -n "$runtime" ]; then
	env+=("TEST_SCALE=${TEST_SCALE:-25}" "LUA_POOL_SANITIZER=$sanitizer" "LUA_POOL_REAL_LUA=$lua"
		"LUA_POOL_PRELOAD=$(realpath "$runtime"):$PWD/$build/unpreload.so")
	lua=$PWD/tools/sanlua.sh
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 pending=0 files=0

count() { # count NAME STATUS SECONDS: from the log of one process
	local name=$1 status=$2 seconds=$3 p f w what=
	p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) tests\{0,1\}\.$/\1/p' "$log" | tail -n 1)
	if [ -n "$p" ]; then
		f=$(sed -n 's/^ \([0-9]*\) \(FAILED TESTS\{0,1\}\|ERRORS\{0,1\}\)$/\1/p' "$log" | paste -sd+ | sum)
		w=$(sed -n 's/^ \([0-9]*\) SKIPPED TESTS\{0,1\}$/\1/p' "$log" | tail -n 1)
	else
		p=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$log" | tail -n 1)
		f=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$log" | tail -n 1)
		w=0
		case $name in
		*_spec.lua) # no summary: it ended in the middle
			p=$(grep -c '^\[       OK \]' "$log")
			f=$(grep -c '^\[\( \{1,2\}FAILED  \| ERROR  *\)\]' "$log")
			;;
		*) # a program that only has an exit status
			if [ -z "$p" ]; then
				if [ "$status" = 0 ]; then p=1; else p=0; fi
				f=0
			fi
			;;
		esac
	fi
	p=${p:-0} f=${f:-0} w=${w:-0}
	if [ "$status" != 0 ] && [ "$f" = 0 ]; then
		f=1
		case $status in
		124 | 137) what=", TIME LIMIT of $limit s" ;;
		66) what=", a sanitizer's report" ;;
		*) if [ "$status" -gt 128 ]; then what=", killed by SIG$(kill -l "$status")"; else what=", exit status $status"; fi ;;
		esac
	elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
		what=", TIME LIMIT of $limit s"
	fi
	case $name in
	*_spec.lua) if [ "$p" = 0 ] && [ "$f" = 0 ] && [ "$w" = 0 ]; then what=", no test in it"; fi ;;
	esac
	passed=$((passed + p)) failed=$((failed + f)) pending=$((pending + w)) files=$((files + 1))
	[ -z "${COUNTS:-}" ] || echo "$p $f" >>"$COUNTS"
	local word=ok
	if [ "$f" != 0 ]; then word=FAIL; fi
	printf '%-4s %-44s %4d passed' "$word" "$name" "$p"
	[ "$f" = 0 ] || printf ', %d failed' "$f"
	[ "$w" = 0 ] || printf ', %d pending' "$w"
	printf '%s  (%s s)\n' "$what" "$seconds"
	if [ "$f" != 0 ]; then
		echo "---- $name:"
		# Successes are no news; what was running when it ended is.
		awk '
			/^\[ RUN      \]/ { held = $0; next }
			/^\[       OK \]/ { held = ""; next }
			/^\[----------\]/ { next }
			{ if (held != "") print held; held = ""; print }
			END { if (held != "") print held "   <- it ended here" }' "$log" | head -c 20000
		echo "----"
	fi
}
sum() { awk -F+ '{ for (i = 1; i <= NF; i++) s += $i } END { print s + 0 }'; }

one() { # one NAME COMMAND...
	local name=$1 start status end
	shift
	start=$(date +%s%N)
	local limit=$limit
	case $name in spec/package_spec.lua) limit=$((limit * 3)) ;; esac # it builds everything three times
	{ timeout -k 5 "$limit" "${prefix[@]}" tools/env.sh "$build" env "${env[@]}" "LUA_POOL_LUA=$lua" "$@" >"$log" 2>&1 </dev/null; } 2>/dev/null
	status=$?
	end=$(date +%s%N)
	count "$name" "$status" "$(((end - start) / 1000000000)).$(printf %02d $(((end - start) / 10000000 % 100)))"
}

spec() {
	# shellcheck disable=SC2086
	one "$1" ${UNDER:-} "$lua" tools/busted.lua --run=runner --output=gtest -Xoutput --plain "$1"
}

if [ $# -gt 0 ]; then
	for f; do
		case $f in
		*.lua) spec "$f" ;;
		*) one "${f#"$build"/}" "$f" ;;
		esac
	done
else
	if [ "${C_TESTS:-}" != no ]; then
		for f in spec/c/*.c spec/host/*.c; do
			[ -e "$f" ] || continue
			program=${f#spec/}
			one "${f#spec/}" "$build/${program%.c}"
		done
	fi
	if [ "${C_TESTS:-}" != only ]; then
		while IFS= read -r f; do
			# nginx runs LuaJIT, so these need its build.
			case $f:$build in spec/nginx/*:build/jit | spec/nginx/*:build/jit-address*) ;; spec/nginx/*) continue ;; esac
			spec "$f"
		done < <(find spec -name '*_spec.lua' | LC_ALL=C sort)
	fi
fi

printf '%s: %d passed, %d failed' "$build" "$passed" "$failed"
[ "$pending" = 0 ] || printf ', %d pending' "$pending"
printf ' in %d files\n' "$files"
[ "$failed" = 0 ] && [ "$files" -gt 0 ]
