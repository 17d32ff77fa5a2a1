#!/bin/sh
# Makes sure that what a target needs is there: tools/deps.sh GROUP...
# Groups: demo, test, jit, check, bench, loops. Installs the missing Debian packages with apt-get,
# as root or through sudo, and says so. DEPS=no: only says what is missing and goes on.
# Another system: says which commands are missing, and goes on.
set -u

missing=
need() { # need PACKAGE [PROBE...]: the package, or a probe that succeeds without it
	package=$1
	shift
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	*" installed") return ;;
	esac
	if [ $# -gt 0 ] && "$@" >/dev/null 2>&1; then
		return
	fi
	case " $missing " in
	*" $package "*) ;;
	*) missing="$missing $package" ;;
	esac
}
command_here() { command -v "$1"; }
lua_module() { "$1" -e "require '$2'"; }

build() {
	need make command_here make
	need gcc command_here "${CC:-cc}"
	need libc6-dev test -e /usr/include/stdlib.h
	need pkg-config command_here pkg-config
}
lua54() {
	need lua5.4 command_here lua5.4
	need liblua5.4-dev pkg-config --exists lua5.4
}

for group; do
	case $group in
	demo)
		build
		lua54
		;;
	test)
		build
		lua54
		need lua-busted lua_module lua5.4 busted.runner
		need lua-posix lua_module lua5.4 posix
		need lua-luv lua_module lua5.4 luv
		need lua-cqueues lua_module lua5.4 cqueues
		need lua-socket lua_module lua5.4 socket
		need lua-sql-sqlite3 lua_module lua5.4 luasql.sqlite3
		need strace command_here strace
		need luarocks command_here luarocks
		need zip command_here zip
		need unzip command_here unzip
		;;
	jit) # luajit2 and luajit exclude each other: either will do
		build
		need luajit2 command_here luajit
		need libluajit2-5.1-dev pkg-config --exists luajit
		;;
	check)
		need clang command_here clang
		need cppcheck command_here cppcheck
		need lua-check command_here luacheck
		need valgrind command_here valgrind
		need spin command_here spin
		need libasan8 test -e "$(gcc -print-file-name=libasan.so 2>/dev/null)"
		need libtsan2 test -e "$(gcc -print-file-name=libtsan.so 2>/dev/null)"
		;;
	bench)
		build
		lua54
		need lua-luv lua_module lua5.4 luv
		need lua-filesystem lua_module lua5.4 lfs
		;;
	loops)
		need lua-luv
		need lua-cqueues
		need lua-copas
		need lua-socket
		need nginx command_here nginx
		need libnginx-mod-http-lua
		need curl command_here curl
		need openssl command_here openssl
		need wrk command_here wrk
		;;
	*)
		echo "tools/deps.sh: there is no group '$group'" >&2
		exit 2
		;;
	esac
done

[ -n "$missing" ] || exit 0
missing=${missing# }

if [ "${DEPS:-yes}" = no ]; then
	echo "lua-pool: not installed (DEPS=no): $missing" >&2
	exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "lua-pool: this is not a Debian system; what these packages hold there seems to be missing: $missing" >&2
	exit 0
fi

sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "lua-pool: these packages are missing, and installing them needs root or sudo: apt-get install $missing" >&2
		exit 1
	fi
	sudo=sudo
fi

echo "lua-pool: installing: $missing"
# A package may bring a server; none shall start because of us.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod +x $policy
	trap '$sudo rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
fi
log=$(mktemp)
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$log" 2>&1 </dev/null; }
if ! apt update; then
	echo "lua-pool: apt-get update failed; trying with the lists that are here" >&2
	tail -n 3 "$log" >&2
fi
# shellcheck disable=SC2086
if ! apt install -y --no-install-recommends $missing; then
	tail -n 15 "$log" >&2
	echo "lua-pool: apt-get install failed; by hand: apt-get install $missing" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
