#!/bin/bash
# Builds Lua 5.4 from Debian's source with its internal assertions and its checks of the API: tools/lua-assert.sh PROGRAM
#
# The program finds modules where the installed lua5.4 does. Apt's own lists and sources stay as they are. Exit status 3:
# there is no source to be had.
set -eu
to=$(realpath -m "$1")
[ ! -x "$to" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial"
. /etc/os-release
uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
	sed -nE 's/^(URIs: *|deb (\[[^]]*\] )?)(https?:[^ ]*).*/\3/p' | head -n 1)
echo "deb-src ${uri:-http://deb.debian.org/debian} $VERSION_CODENAME main" >"$work/parts/src.list"
apt() {
	apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists" "$@"
}
cd "$work"
if ! { apt update && apt source --download-only lua5.4; } >log 2>&1 || ! tar -xf lua5.4_*.orig.tar.*; then
	tail -n 5 log >&2
	echo "no source of lua5.4" >&2
	exit 3
fi
cd lua-5.4*/src
path=$(env -u LUA_PATH -u LUA_PATH_5_4 lua5.4 -e 'io.write(package.path)')
cpath=$(env -u LUA_CPATH -u LUA_CPATH_5_4 lua5.4 -e 'io.write(package.cpath)')
mkdir -p "$(dirname "$to")"
gcc -std=gnu99 -O1 -g -w -DLUA_USE_LINUX -DLUA_USE_APICHECK -DLUAI_ASSERT -Dlua_assert=assert -include assert.h \
	"-DLUA_PATH_DEFAULT=\"$path\"" "-DLUA_CPATH_DEFAULT=\"$cpath\"" -o "$to" $(printf "%s\n" l*.c | grep -vx luac.c) -Wl,-E -lm -ldl
