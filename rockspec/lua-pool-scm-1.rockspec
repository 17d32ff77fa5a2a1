rockspec_format = "3.0"
package = "lua-pool"
version = "scm-1"

source = {
  url = "git+https://github.com/lua-pool/lua-pool.git",
}

description = {
  summary = "Runs ordinary Lua functions on every core of the machine",
  detailed = [[
A pool of worker threads for Lua 5.4 and LuaJIT. pool.async(fn, ...) runs a Lua function,
with its upvalues and arguments, in the state of a worker thread and returns a future;
future:await() gives its results.]],
  homepage = "https://github.com/lua-pool/lua-pool",
  license = "MIT",
  labels = {"threads", "parallel", "async", "futures"},
}

supported_platforms = {"linux"}

-- Lua 5.4, or LuaJIT (which LuaRocks knows as 5.1).
dependencies = {
  "lua >= 5.1, < 5.5",
}

-- The Makefile finds the files by itself, so a new one needs no line here.
build = {
  type = "make",
  build_target = "build",
  build_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS) -g",
    LUA_INCDIR = "$(LUA_INCDIR)",
    TAG = "rock",
  },
  install_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS) -g",
    LUA_INCDIR = "$(LUA_INCDIR)",
    TAG = "rock",
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
  },
  copy_directories = {"docs", "examples"},
}
