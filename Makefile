# lua-pool: build, test, install. `make help` lists the targets.
#
# One shared object per Lua: build/5.4/lua-pool/core.so, build/jit/lua-pool/core.so. Variants with
# other flags (SAN=address, SAN=thread, FAULTS=1, CHECK=1, TAG=...) have build folders of their own, so
# that none ever links another's objects. New files in src/, lua-pool/ and spec/ are found by
# themselves.
#
#   LUA=5.4|jit    which Lua (5.4)             SAN=address|thread  a sanitizer build
#   FAULTS=1       allocations that can fail   WERROR=1            warnings are errors
#   CHECK=1        locks, their order and invariants are looked at (src/base/lock.h)
#   DEPS=no        install nothing, only say what is missing       V=1   show the commands

LUA     = 5.4
SAN     =
FAULTS  =
CHECK   =
WERROR  =
TAG     =
DEPS    ?= yes
export DEPS

CC      ?= cc
CFLAGS  ?= -O2 -g
V       =
Q       := $(if $(V),,@)
say     = $(if $(V),,@echo "  $(1)")
PREFIX  ?= /usr/local
INSTALL ?= install
PKG_CONFIG ?= pkg-config

# ---- which Lua ----

# LuaRocks names the headers and not the Lua: they tell which it is.
ifneq ($(LUA_INCDIR),)
LUA_NUM := $(shell sed -n 's/^.define[ \t]*LUA_VERSION_NUM[ \t]*\([0-9]*\).*/\1/p' "$(LUA_INCDIR)/lua.h" 2>/dev/null)
LUA     := $(if $(filter 501,$(LUA_NUM)),jit,5.4)
endif

FLAVOUR := $(patsubst lua%,%,$(LUA))
ifeq ($(FLAVOUR),5.4)
ABI     := 5.4
LUA_EXE ?= lua5.4
LUA_PCS := lua5.4 lua-5.4 lua54 lua
LUA_DEV := liblua5.4-dev
else ifeq ($(FLAVOUR),jit)
ABI     := 5.1
LUA_EXE ?= luajit
LUA_PCS := luajit
LUA_DEV := libluajit2-5.1-dev
else
$(error LUA=$(LUA) is not known: LUA=5.4 or LUA=jit)
endif

ifneq ($(filter-out address thread,$(SAN)),)
$(error SAN=$(SAN) is not known: SAN=address or SAN=thread)
endif

VARIANT := $(FLAVOUR)$(if $(SAN),-$(SAN))$(if $(FAULTS),-faults)$(if $(CHECK),-check)$(if $(TAG),-$(TAG))
BUILD   := build/$(VARIANT)
OBJ     := $(BUILD)/obj

# Asked for late: the packages may be installed by the same `make`.
ifneq ($(LUA_INCDIR),)
LUA_CFLAGS ?= -I$(LUA_INCDIR)
else
LUA_PC      = $(firstword $(foreach p,$(LUA_PCS),$(if $(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null && echo y),$(p))))
LUA_CFLAGS ?= $(if $(LUA_PC),$(shell $(PKG_CONFIG) --cflags $(LUA_PC)))
LUA_LIBS   ?= $(if $(LUA_PC),$(shell $(PKG_CONFIG) --libs $(LUA_PC)))
endif

# The one place where it is written.
VERSION := $(shell sed -n 's/^local VERSION = "\(.*\)"$$/\1/p' lua-pool/version.lua)
ifeq ($(VERSION),)
$(error lua-pool/version.lua does not tell the version)
endif

# ---- flags ----

COMMA := ,
SAN_FLAGS := $(if $(filter address,$(SAN)),-fsanitize=address$(COMMA)undefined -fno-sanitize-recover=undefined) \
             $(if $(filter thread,$(SAN)),-fsanitize=thread) $(if $(SAN),-fno-omit-frame-pointer)
WARN  := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
         -Wvla -Wundef -Wwrite-strings -Werror=implicit-function-declaration $(if $(WERROR),-Werror)
# gcc warns that ThreadSanitizer does not model fences.
ifeq ($(SAN),thread)
WARN  += $(if $(findstring clang,$(shell $(CC) --version 2>/dev/null)),,-Wno-tsan)
endif
# Without a stub per call: Lua binds every symbol at once when it loads a module, so a stub saves nothing.
OURS   = -std=gnu11 -fPIC -fno-plt -fvisibility=hidden -ftls-model=initial-exec -pthread \
         $(WARN) $(SAN_FLAGS) $(if $(FAULTS),-DLP_FAULTS) $(if $(CHECK),-DLP_CHECK) $(LUA_CFLAGS)
COMPILE = $(CC) $(CFLAGS) $(OURS) $(INCLUDES) $(CPPFLAGS) -MMD -MP

# ---- files ----

SRC      := $(sort $(wildcard src/*/*.c))
INCLUDES := -Isrc
OBJS     := $(SRC:src/%.c=$(OBJ)/%.o)
LUAFILES := $(sort $(shell find lua-pool -name '*.lua' 2>/dev/null))
CORE     := $(BUILD)/lua-pool/core.so

# spec/support/x.c: a Lua module "x" of the tests, linked with what it needs of src: all of it would need a second
#                   copy of our thread-local data, for which a process has little room.
# spec/c/x.c:       a program without Lua. The objects come from an archive, so it links only
#                   what it needs, and a layer that secretly needs Lua does not link.
# spec/host/x.c:    a program that embeds Lua and requires lua-pool.
SUPPORT  := $(patsubst spec/support/%.c,$(BUILD)/%.so,$(sort $(wildcard spec/support/*.c)))
CTESTS   := $(patsubst spec/c/%.c,$(BUILD)/c/%,$(sort $(wildcard spec/c/*.c)))
HOSTS    := $(patsubst spec/host/%.c,$(BUILD)/host/%,$(sort $(wildcard spec/host/*.c)))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all build tests demo test check bench bench-nginx example-nginx install uninstall clean help force

all build: $(CORE)

help:
	@echo "make            build for Lua 5.4 (make LUA=jit: for LuaJIT)"
	@echo "make demo       set up what it needs, then count the words of your C headers on all cores"
	@echo "make test       set up what it needs, then run every test (LUA=jit: on LuaJIT)"
	@echo "make check      all of it: both Luas, sanitizers, lint, valgrind, faults, models"
	@echo "make bench      the table of measurements (make bench-nginx: inside nginx)"
	@echo "make example-nginx  start the nginx of examples/nginx, query it, stop it"
	@echo "make install    into PREFIX=$(PREFIX), DESTDIR (make uninstall takes it away)"
	@echo "make clean      remove build/"
	@echo "DEPS=no installs no packages and says what is missing."

# ---- the build ----

# One clear line when something is missing, before the compiler says the same in a hundred.
define PROBE
#include <stdatomic.h>
#include <pthread.h>
static _Atomic unsigned long word; static _Thread_local int mine;
int main(void) { atomic_thread_fence(memory_order_seq_cst); return (int)atomic_fetch_add(&word, 1) + mine; }
endef
define PROBE_LUA
#include <lua.h>
#include <lauxlib.h>
#if LUA_VERSION_NUM == 501
#include <luajit.h>
#elif LUA_VERSION_NUM < 504
#error neither
#endif
int main(void) { return 0; }
endef
export PROBE PROBE_LUA

# Rewritten only when the flags change: then everything is compiled again.
FLAGS = $(CC) $(CFLAGS) $(OURS) $(CPPFLAGS) $(LDFLAGS)
$(OBJ)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS)' | cmp -s - $@ 2>/dev/null || { rm -f $(OBJ)/probed; printf '%s\n' '$(FLAGS)' >$@; }

$(OBJ)/probed: $(OBJ)/flags
	@command -v $(firstword $(CC)) >/dev/null || { \
	  echo "lua-pool: there is no C compiler '$(firstword $(CC))'. Install one (Debian: apt-get install build-essential) or name yours: make CC=..." >&2; exit 1; }
	@printf '%s\n' "$$PROBE" | $(CC) -std=gnu11 -pthread -x c -fsyntax-only - 2>/dev/null || { \
	  echo "lua-pool: '$(CC)' cannot compile C11 atomics (stdatomic.h, _Thread_local). Use gcc 4.9 or newer, or clang 3.6 or newer: make CC=..." >&2; exit 1; }
	@printf '%s\n' "$$PROBE_LUA" | $(CC) -std=gnu11 -x c -fsyntax-only $(LUA_CFLAGS) - 2>/dev/null || { \
	  echo "lua-pool: no lua.h of Lua 5.4 or LuaJIT$(if $(LUA_CFLAGS), with $(LUA_CFLAGS)). Install it (Debian: apt-get install pkg-config $(LUA_DEV)) or name its folder: LUA_INCDIR=..." >&2; exit 1; }
	@touch $@

$(OBJ)/%.o: src/%.c $(OBJ)/probed
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(COMPILE) $(LOOPS) $(DEFINES) -c -o $@ $<

$(OBJ)/lib/core.o: private DEFINES = -DLP_VERSION='"$(VERSION)"'
$(OBJ)/lib/core.o: lua-pool/version.lua

# Loops over arrays are worth the compiler's best.
$(OBJ)/data/array_ops.o $(OBJ)/data/array_sort.o: private LOOPS = -O3

# The names of the objects, so that a file that is gone is linked no more.
$(OBJ)/list: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(OBJS)' | cmp -s - $@ 2>/dev/null || printf '%s\n' '$(OBJS)' >$@

SHARED_FLAGS = -shared -Wl,-z,nodelete -Wl,-z,relro $(LDFLAGS)
SHARED = $(CC) $(CFLAGS) -pthread $(SAN_FLAGS) $(SHARED_FLAGS)

$(CORE): $(OBJS) $(OBJ)/list
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(SHARED) -o $@ $(OBJS) -lm -ldl

$(OBJ)/all.a: $(OBJS) $(OBJ)/list
	@rm -f $@
	$(call say,AR $@)
	$(Q)ar rcs $@ $(OBJS)

# ---- the tests' own C ----

tests: $(CORE) $(SUPPORT) $(CTESTS) $(HOSTS) $(if $(SAN),$(BUILD)/unpreload.so)

$(BUILD)/unpreload.so: tools/unpreload.c
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -fPIC -O2 -o $@ $<

$(OBJ)/spec/%.o: spec/%.c $(OBJ)/probed
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(COMPILE) -c -o $@ $<

NOT_CORE := $(filter-out $(OBJ)/lib/core.o,$(OBJS))
$(BUILD)/%.so: $(OBJ)/spec/support/%.o $(OBJ)/all.a
	$(call say,LD $@)
	$(Q)$(SHARED) -o $@ $< $(OBJ)/all.a -lm -ldl

PROGRAM = $(CC) $(CFLAGS) -pthread $(SAN_FLAGS) $(LDFLAGS)
$(BUILD)/c/%: $(OBJ)/spec/c/%.o $(OBJ)/all.a
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(PROGRAM) -o $@ $< $(OBJ)/all.a -lm -ldl

$(BUILD)/host/%: $(OBJ)/spec/host/%.o
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(PROGRAM) -Wl,-E -o $@ $< $(LUA_LIBS) -lm -ldl

-include $(wildcard $(OBJ)/*/*.d $(OBJ)/spec/*/*.d)

# ---- what people run ----

SPECS =

demo:
	@tools/deps.sh demo $(filter jit,$(FLAVOUR))
	@$(MAKE) --no-print-directory -s build
	@tools/env.sh $(BUILD) $(LUA_EXE) examples/wordcount.lua

test:
	@tools/deps.sh test loops $(filter jit,$(FLAVOUR))
	@$(MAKE) --no-print-directory -s tests
	@tools/test.sh $(BUILD) $(SPECS)

check:
	@tools/deps.sh test jit check loops
	@tools/check.sh all

bench:
	@tools/deps.sh bench $(filter jit,$(FLAVOUR))
	@$(MAKE) --no-print-directory -s build $(BUILD)/bench/pingpong $(BUILD)/bench/readfile $(BUILD)/bench/nap $(BUILD)/bench_codec.so $(BUILD)/bench_array.so
	@tools/env.sh $(BUILD) $(LUA_EXE) bench/run.lua $(ROWS)

# nginx's Lua is LuaJIT.
example-nginx:
	@tools/deps.sh jit loops
	@$(MAKE) --no-print-directory -s build LUA=jit
	@examples/nginx/run.sh build/jit

bench-nginx:
	@tools/deps.sh jit loops
	@$(MAKE) --no-print-directory -s build LUA=jit
	@tools/env.sh build/jit luajit bench/nginx.lua

$(BUILD)/bench_%.so: bench/%.c $(NOT_CORE) $(OBJ)/list
	$(call say,LD $@)
	$(Q)$(COMPILE) $(SHARED_FLAGS) -o $@ $< $(NOT_CORE) -lm -ldl

$(BUILD)/bench/%: bench/%.c $(OBJ)/probed
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) -std=gnu11 -O2 -Wall -Wextra -pthread -o $@ $<

# ---- installing ----

LUADIR ?= $(PREFIX)/share/lua/$(ABI)
LIBDIR ?= $(PREFIX)/lib/lua/$(ABI)

install: $(CORE)
	@set -e; for f in $(LUAFILES); do \
	  $(INSTALL) -d "$(DESTDIR)$(LUADIR)/$$(dirname $$f)"; \
	  $(INSTALL) -m 644 $$f "$(DESTDIR)$(LUADIR)/$$f"; \
	done
	$(INSTALL) -d "$(DESTDIR)$(LIBDIR)/lua-pool"
	$(INSTALL) -m 755 $(CORE) "$(DESTDIR)$(LIBDIR)/lua-pool/core.so"

uninstall:
	rm -rf "$(DESTDIR)$(LUADIR)/lua-pool" "$(DESTDIR)$(LIBDIR)/lua-pool"

clean:
	rm -rf build
