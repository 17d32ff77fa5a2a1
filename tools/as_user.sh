#!/bin/bash
# Runs a command as an ordinary user, in a copy of this checkout that is his: tools/as_user.sh COMMAND...
#
# As root: with a user that is made for it (and taken away again; where there is no useradd, an unprivileged id), with the PATH
# of Debian's ordinary users and nothing of root's environment. As an ordinary user: here and now, with that PATH.
# What passes through: COUNTS (what is appended to it), QUICK, LUA_POOL_*, TIME_LIMIT, TEST_SCALE, C_TESTS, DEPS, V.
set -u
cd "$(dirname "$0")/.." || exit 2
path=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games

if [ "$(id -u)" != 0 ]; then
	PATH=$path exec "$@"
fi

user=lua-pool-$$ # his processes are ended with the run: so each run has its own
made=no
folder=$(mktemp -d "${TMPDIR:-/tmp}/lua-pool-user.XXXXXX")
# shellcheck disable=SC2317
away() {
	# What the tests left running, if a time limit ended them.
	[ -z "${id:-}" ] || pkill -KILL -U "$id" 2>/dev/null
	rm -rf "$folder"
	[ $made = no ] || userdel "$user" 2>/dev/null
}
trap away EXIT
trap 'exit 1' HUP INT TERM

if getent passwd "$user" >/dev/null; then
	:
elif command -v useradd >/dev/null && useradd --system --home-dir "$folder" --shell /bin/sh "$user"; then
	made=yes
else
	user=65533
fi
id=$(id -u "$user" 2>/dev/null || echo 65533)
group=$(id -g "$user" 2>/dev/null || echo 65533)

mkdir "$folder/checkout"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	git ls-files -co --exclude-standard -z | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done
else
	find . -path ./build -prune -o -type f -print0
fi | tar --null -T - -c | tar -x -C "$folder/checkout"
# What some specs use of a folder beside the checkout, if it is there; the user may have no way into the original.
[ ! -d ../shared/third-party ] || { mkdir "$folder/shared" && cp -r ../shared/third-party "$folder/shared/"; }
: >"$folder/counts"
chown -R "$id:$group" "$folder"

keep=()
for name in QUICK TIME_LIMIT TEST_SCALE C_TESTS DEPS V CI "${!LUA_POOL_@}"; do
	[ -z "${!name+set}" ] || keep+=("$name=${!name}")
done
[ -z "${COUNTS:-}" ] || keep+=("COUNTS=$folder/counts")

cd "$folder/checkout" || exit 2
env -i PATH=$path HOME="$folder" USER="$user" LOGNAME="$user" LANG="${LANG:-C.UTF-8}" TERM="${TERM:-dumb}" "${keep[@]}" \
	setpriv --reuid="$id" --regid="$group" --clear-groups --inh-caps=-all "$@" </dev/null &
wait $!
status=$?
cd / || exit 2
[ -z "${COUNTS:-}" ] || cat "$folder/counts" >>"$COUNTS"
exit $status
