#!/bin/bash
# Starts the nginx of this folder with this checkout's lua-pool, queries it, prints what came, and stops it:
# `make example-nginx`, or run.sh BUILD with the folder that LuaJIT's build is in.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-$here/../../build/jit}" && pwd) || exit 1
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # nginx is in one of them
prefix=$(mktemp -d)
mkdir "$prefix/logs"
chmod 755 "$prefix" # nginx's worker processes may be another user
ln -s "$here/handlers.lua" "$here/../../lua-pool" "$prefix"
ln -s "$build" "$prefix/lib"
modules=$(nginx -V 2>&1 | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
sed "s|/usr/lib/nginx/modules|${modules:-/usr/lib/nginx/modules}|" "$here/nginx.conf" >"$prefix/nginx.conf"

timeout 60 nginx -p "$prefix" -c "$prefix/nginx.conf" -g 'daemon off;' 2>"$prefix/logs/start" &
nginx=$!
finish() {
	kill -QUIT $nginx 2>/dev/null
	wait $nginx
	grep -E '\[(warn|error|crit|alert|emerg)\]' "$prefix/logs/error.log" "$prefix/logs/start"
	rm -rf "$prefix"
}
trap finish EXIT

fetch() { # fetch PATH: the answer's status and body
	printf '%-34s' "GET $1"
	curl -s -m 20 -w ' (%{http_code})\n' "http://127.0.0.1:8088$1" | paste -sd' ' | sed 's/  */ /g'
}
for _ in $(seq 100); do
	curl -s -o "$prefix/logs/up" http://127.0.0.1:8088/stats && break
	kill -0 $nginx 2>/dev/null || { cat "$prefix/logs/start"; exit 1; }
	sleep 0.05
done

fetch '/stretch?password=sesame'
fetch /primes
fetch /counted
fetch /counted
fetch /stats

echo 'GET /stretch by 300 clients at once: how many got which answer'
for _ in $(seq 300); do
	echo 'url = "http://127.0.0.1:8088/stretch?rounds=20000"'
	echo 'output = /dev/null'
done >"$prefix/many"
curl -s --no-progress-meter -m 40 --parallel --parallel-immediate --parallel-max 300 -w '%{http_code}\n' -K "$prefix/many" | sort | uniq -c
