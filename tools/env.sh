#!/bin/sh
# Runs a command that finds this checkout's lua-pool: tools/env.sh BUILD COMMAND...
# BUILD is a folder as `make` makes it, build/5.4 say; the command runs in the current folder.
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
shift
case $build in
/*) ;;
*) build=$root/$build ;;
esac
LUA_PATH="$root/?.lua;$root/?/init.lua;;"
LUA_CPATH="$build/?.so;;"
LUA_POOL_BUILD=$build
export LUA_PATH LUA_CPATH LUA_POOL_BUILD
# These would take precedence over the two above on Lua 5.4.
unset LUA_PATH_5_4 LUA_CPATH_5_4
exec "$@"
