#!/bin/sh
# The interpreter of a sanitizer run: the real one with the runtime loaded first. Tests start their
# child processes with it as well (LUA_POOL_LUA). Both names come from tools/test.sh.
LD_PRELOAD=$LUA_POOL_PRELOAD
export LD_PRELOAD
exec "$LUA_POOL_REAL_LUA" "$@"
