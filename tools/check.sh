#!/bin/bash
# The whole check, or parts of it: tools/check.sh all | PART...
#   test       every spec on Lua 5.4, as whoever runs this
#   user       the same as an ordinary user (tools/as_user.sh)
#   jit        every spec on LuaJIT
#   jituser    the same as an ordinary user
#   nginx      the specs that start a real nginx, which is LuaJIT
#   portable   every spec with LUA_POOL_PORTABLE=1, on both Luas
#   lint       luacheck, cppcheck, shell syntax, exported symbols, forgotten files
#   werror     gcc and clang, both Luas, warnings are errors
#   asan       every test under AddressSanitizer and UndefinedBehaviorSanitizer
#   asanjit    the same on LuaJIT
#   tsan       every test under ThreadSanitizer
#   valgrind   a short subset of the specs
#   faults     each allocation of a script fails in turn
#   instructions  what the operations cost that need no second core, beside the recorded numbers
#   model      the models in spec/model, with spin
#   assert     cancellation, waits and values on a Lua 5.4 that checks itself and how its API is used
#   abort      examples/nginx under clients that hang up: 500 rounds, the collector forced (ABORT_ROUNDS)
#   storm      a minute of random cancellations on each Lua (STORM_SECONDS, STORM_SEED)
# Goes on after a failure; says at the end what failed. COUNTS=file as in tools/test.sh.
set -u
cd "$(dirname "$0")/.." || exit 2
jobs=$(nproc)
# What `make check` was given is not for the builds in here.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES
failures=()

build() { make --no-print-directory -s -j"$jobs" "$@"; }

tally() { # tally STATUS NAME: a check that is one thing
	if [ "$1" = 0 ]; then
		printf 'ok   %s\n' "$2"
		[ -z "${COUNTS:-}" ] || echo "1 0" >>"$COUNTS"
	else
		printf 'FAIL %s\n' "$2"
		[ -z "${COUNTS:-}" ] || echo "0 1" >>"$COUNTS"
		return 1
	fi
}
# try NAME COMMAND...: shows what the command said only if it fails.
try() {
	local name=$1 out status
	shift
	out=$("$@" 2>&1 </dev/null)
	status=$?
	[ $status = 0 ] || printf '%s\n' "$out" | tail -n 60
	tally $status "$name"
}
have() { # a tool that DEPS=no may have left out
	command -v "$1" >/dev/null || {
		echo "skip $2: there is no $1"
		return 1
	}
}

suite() { # suite BUILD MAKE-ARGUMENTS...: builds and runs every test
	local folder=$1
	shift
	try "build $folder" build tests "$@" || return 1
	tools/test.sh "$folder"
}

# core BUILD MAKE-ARGUMENTS...: the C tests, and the specs of what everything else stands on.
CORE_SPECS=(async cancel channel counter event group map mixed pool select sync values)
core() {
	local folder=$1 r=0
	shift
	try "build $folder" build tests "$@" || return 1
	C_TESTS=only tools/test.sh "$folder" || r=1
	tools/test.sh "$folder" $(printf "spec/%s_spec.lua " "${CORE_SPECS[@]}") || r=1
	return $r
}

part_jit() {
	have luajit LuaJIT || return 0
	suite build/jit LUA=jit
}

part_test() { suite build/5.4; }

# Through the README's own command.
part_user() { tools/as_user.sh make --no-print-directory -s -j"$jobs" test; }
part_jituser() {
	have luajit LuaJIT || return 0
	tools/as_user.sh make --no-print-directory -s -j"$jobs" test LUA=jit
}

part_instructions() {
	have valgrind instructions || return 0
	try "build build/5.4" build build || return 1
	# LuaJIT's own counts lie 1 to 8 per cent apart from run to run: when it compiles what depends on addresses.
	# A machine with other work moves the row of a thousand tasks by almost one: so three are allowed here.
	LIMIT=${LIMIT:-3} tools/instructions.sh build/5.4 check | sed "s/^/     /"
	tally "${PIPESTATUS[0]}" "instructions on Lua 5.4"
}

part_nginx() {
	have luajit nginx && have nginx nginx || return 0
	try "build build/jit" build build LUA=jit || return 1
	tools/test.sh build/jit spec/nginx/*_spec.lua
}

part_portable() {
	local r=0
	export LUA_POOL_PORTABLE=1
	C_TESTS=no suite build/5.4 || r=1
	if [ "${QUICK:-}" = "" ] && have luajit LuaJIT; then
		C_TESTS=no suite build/jit LUA=jit || r=1
	fi
	unset LUA_POOL_PORTABLE
	return $r
}

one_symbol() {
	local names
	names=$(nm -D --defined-only "$1" | awk '{ print $3 }' | paste -sd' ')
	[ "$names" = luaopen_pool_core ] || {
		echo "$1 exports: $names"
		return 1
	}
}

not_linked() {
	! readelf -d "$1" | grep -i 'NEEDED.*lua'
}

tidy() { # trailing blanks, files without a last newline
	local bad=0 f
	while IFS= read -r -d '' f; do
		case $f in *.pgm | *.png | *.rock) continue ;; esac
		[ -f "$f" ] || continue
		if grep -nE '[ 	]+$' "$f" | sed "s|^|$f:|" | grep .; then bad=1; fi
		if [ -s "$f" ] && [ -n "$(tail -c 1 "$f")" ]; then
			echo "$f: no newline at its end"
			bad=1
		fi
	done < <(find src lua-pool spec tools bench examples docs rockspec .ci README.md CHANGELOG.md Makefile \
		-type f -print0)
	return $bad
}

part_lint() {
	local r=0 f
	if have luacheck lint; then
		try luacheck luacheck -q --codes lua-pool spec examples bench tools .luacheckrc rockspec/*.rockspec || r=1
	fi
	if have cppcheck lint; then
		for lua in 5.4 jit; do
			case $lua in
			5.4) defs="-DLUA_VERSION_NUM=504" ;;
			jit) defs="-DLUA_VERSION_NUM=501" ;;
			esac
			try "cppcheck ($lua)" cppcheck -q -j"$jobs" --std=c11 --language=c --enable=warning,performance,portability \
				--inline-suppr --suppressions-list=tools/cppcheck.supp --error-exitcode=1 "$defs" -D__linux__ -D__GNUC__ \
				-D__x86_64__ -Isrc src || r=1
		done
	fi
	for f in tools/*.sh .ci/run; do
		try "bash -n $f" bash -n "$f" || r=1
	done
	try "tidy text" tidy || r=1
	try "the folders of src are layers" lua5.4 tools/layers.lua || r=1
	try "build" build || r=1
	try "only luaopen_pool_core is exported" one_symbol build/5.4/lua-pool/core.so || r=1
	try "no liblua is linked" not_linked build/5.4/lua-pool/core.so || r=1
	if have luarocks "the rockspec"; then
		try "luarocks lint" luarocks --lua-version=5.4 lint rockspec/lua-pool-scm-1.rockspec || r=1
	fi
	return $r
}

# The quick form has each compiler and each Lua once.
part_werror() {
	local r=0 cc lua luas=5.4
	if have luajit LuaJIT; then luas="5.4 jit"; fi
	for cc in gcc clang; do
		have $cc "the build with $cc" || continue
		for lua in $luas; do
			case "${QUICK:-}$cc$lua" in 1gccjit | 1clang5.4) continue ;; esac
			try "no warnings: $cc, $lua" build tests CC=$cc TAG=$cc LUA="$lua" WERROR=1 || r=1
		done
	done
	try "no warnings: gcc, 5.4, FAULTS=1" build FAULTS=1 TAG=gcc WERROR=1 || r=1
	return $r
}

part_asan() { TIME_LIMIT=${TIME_LIMIT:-240} suite build/5.4-address-check SAN=address CHECK=1; }
# The interpreter itself is not instrumented: what our C does is looked at, and who frees what it uses.
part_asanjit() {
	have luajit LuaJIT || return 0
	local what=suite
	if [ "${QUICK:-}" ]; then what=core; fi
	TIME_LIMIT=${TIME_LIMIT:-240} $what build/jit-address-check LUA=jit SAN=address CHECK=1
}
part_tsan() {
	local what=suite
	if [ "${QUICK:-}" ]; then what=core; fi
	TIME_LIMIT=${TIME_LIMIT:-240} $what build/5.4-thread-check SAN=thread CHECK=1
}

part_valgrind() {
	have valgrind valgrind || return 0
	# Short ones, that between them use every kind of object.
	local files=() f
	for f in async counter channel event error group select values; do
		[ ! -e "spec/${f}_spec.lua" ] || files+=("spec/${f}_spec.lua")
	done
	try "build" build tests || return 1
	TIME_LIMIT=600 TEST_SCALE=5 LUA_POOL_SANITIZER=valgrind \
		UNDER="valgrind -q --fair-sched=try --error-exitcode=66 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --child-silent-after-fork=yes" \
		tools/test.sh build/5.4 "${files[@]}"
}

part_faults() {
	local r=0
	try "build build/5.4-address-faults" build tests SAN=address FAULTS=1 || return 1
	tools/faults.sh build/5.4-address-faults || r=1
	if have luajit LuaJIT; then
		try "build build/jit-address-faults" build tests LUA=jit SAN=address FAULTS=1 || return 1
		tools/faults.sh build/jit-address-faults || r=1
	fi
	return $r
}

part_model() {
	local r=0 f
	have spin "the models" || return 0
	for f in spec/model/*.pml; do
		[ -e "$f" ] || continue
		try "model ${f#spec/model/}" tools/model.sh "$f" || r=1
	done
	return $r
}

part_assert() {
	local lua=$PWD/build/lua-assert status f files=()
	tools/lua-assert.sh "$lua"
	status=$?
	if [ $status = 3 ]; then
		echo "skip the specs on a Lua with assertions: its source cannot be had here"
		return 0
	fi
	tally $status "Lua with assertions" || return 1
	try "build build/5.4" build tests || return 1
	for f in spec/cancel*_spec.lua spec/regress/cancel*_spec.lua; do files+=("$f"); done
	for f in async channel error event group scope select sync values; do files+=("spec/${f}_spec.lua"); done
	LUA_EXE=$lua LUA_POOL_LUA=$lua tools/test.sh build/5.4 "${files[@]}"
}

part_abort() {
	have luajit "nginx's clients that hang up" || return 0
	try "build build/jit" build tests LUA=jit || return 1
	ABORT_ROUNDS=${ABORT_ROUNDS:-500} TIME_LIMIT=${TIME_LIMIT:-900} tools/test.sh build/jit spec/nginx/abort_spec.lua
}

part_storm() {
	local r=0
	export STORM_SECONDS=${STORM_SECONDS:-60}
	try "build build/5.4" build tests || return 1
	TIME_LIMIT=$((STORM_SECONDS * 3 + 120)) tools/test.sh build/5.4 spec/cancel_storm_spec.lua || r=1
	if have luajit LuaJIT; then
		try "build build/jit" build tests LUA=jit || return 1
		TIME_LIMIT=$((STORM_SECONDS * 3 + 120)) tools/test.sh build/jit spec/cancel_storm_spec.lua || r=1
	fi
	unset STORM_SECONDS
	return $r
}

parts=("$@")
if [ "${1:-all}" = all ]; then
	parts=(test user jit jituser portable lint werror asan asanjit tsan valgrind faults instructions model assert abort storm)
fi

for part in "${parts[@]}"; do
	declare -F "part_$part" >/dev/null || {
		echo "tools/check.sh: there is no part '$part'" >&2
		exit 2
	}
done
times=()
for part in "${parts[@]}"; do
	echo "== $part"
	start=$SECONDS
	"part_$part" || failures+=("$part")
	times+=("$part $((SECONDS - start)) s")
	echo "== $part: $((SECONDS - start)) s"
done
[ ${#parts[@]} = 1 ] || printf 'check: %s\n' "${times[@]}"
if [ ${#failures[@]} -gt 0 ]; then
	echo "check: FAILED: ${failures[*]}"
	exit 1
fi
echo "check: all is well: ${parts[*]}"
