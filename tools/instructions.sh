#!/bin/bash
# Counts instructions per operation, which do not swing as times do: tools/instructions.sh BUILD [check|show|record] [ROW...]
#
# BUILD is a folder as `make` leaves it. Each row of bench/instructions.lua runs under callgrind twice, with N and with 4 N
# operations; a third of the difference is what N cost, all threads together.
#   show    (the default) prints what each row costs, and the recorded number
#   check   fails when a row that is gated costs more than LIMIT per cent (1) above its recorded number
#   record  runs each row five times and writes bench/instructions-LUA.txt: the median, and how far the five lie apart; a row
#           is gated when that is no more than half a per cent. Renewed only in a commit that says why.
# A row is gated on the machine's kind that recorded it: the same Lua package and the same compiler (noted in the file's head).
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:?tools/instructions.sh BUILD [check|show|record] [ROW...]}
build=${build%/}
what=${2:-show}
shift $(($# < 2 ? $# : 2))
case $build in
build/jit*) lua=${LUA_EXE:-luajit} flavour=jit ;;
*) lua=${LUA_EXE:-lua5.4} flavour=5.4 ;;
esac
record=bench/instructions-$flavour.txt
limit=${LIMIT:-1}
repeat=1
[ "$what" != record ] || repeat=5
command -v valgrind >/dev/null || {
	echo "tools/instructions.sh: there is no valgrind (Debian: apt-get install valgrind)" >&2
	exit 1
}

# What the numbers depend on besides our own code.
machine() {
	echo "$($lua -v 2>&1 | head -n 1 | cut -d' ' -f1,2), $(${CC:-cc} --version | head -n 1 | sed 's/.*) //;s/^/cc /'), $(uname -m)"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same hashes in each run (tools/still.c); and the same paths and environment wherever the checkout is and whoever
# runs it: both decide where the collector stands at the end.
${CC:-cc} -shared -fPIC -O2 -o "$work/still.so" tools/still.c && mv "$work/still.so" "$build/still.so" || exit 1
fixed=()
if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi # addresses decide the order of a hash

count() { # count ROW N: all instructions of one run; nothing if it failed
	timeout -k 5 300 "${fixed[@]}" env -i PATH=/usr/local/bin:/usr/bin:/bin LUA_PATH="./?.lua;./?/init.lua;;" \
		LUA_CPATH="$build/?.so;;" LUA_POOL_WORKERS=1 LD_PRELOAD="$build/still.so" \
		valgrind --tool=callgrind --callgrind-out-file=/dev/null "$lua" bench/instructions.lua "$1" "$2" \
		>"$work/run" 2>&1 </dev/null || {
		tail -n 5 "$work/run" >&2
		return 1
	}
	sed -n 's/^==[0-9]*== Collected *: *\([0-9]*\)$/\1/p' "$work/run"
}

per_op() { # per_op ROW N
	local a b
	a=$(count "$1" "$2")
	b=$(count "$1" $(($2 * 4)))
	[ -n "$a" ] && [ -n "$b" ] || return 1
	awk -v a="$a" -v b="$b" -v n="$2" 'BEGIN { printf "%.2f\n", (b - a) / (3 * n) }'
}

# The numbers as they were recorded: ROW MEDIAN SPREAD gate|free
old() { awk -v row="$1" -v field="$2" '$1 == row { print $field }' "$record" 2>/dev/null; }

rows=$(tools/env.sh "$build" "$lua" bench/instructions.lua) || exit 1
status=0
out=$work/record
known=no
if [ -r "$record" ] && [ "$(sed -n 's/^# recorded with: //p' "$record")" = "$(machine)" ]; then known=yes; fi
if [ "$what" = check ] && [ $known = no ]; then
	echo "instructions: the recorded numbers are of another compiler or Lua ($(sed -n 's/^# recorded with: //p' "$record" 2>/dev/null)); nothing is compared"
	exit 0
fi
while read -r row n; do
	[ $# = 0 ] || case " $* " in *" $row "*) ;; *) continue ;; esac
	[ "$what" != check ] || [ "$(old "$row" 4)" = gate ] || continue
	values=()
	for ((i = 0; i < repeat; i++)); do
		values+=("$(per_op "$row" "$n")") || {
			echo "FAIL $row: it did not run to its end" >&2
			exit 1
		}
	done
	read -r median spread < <(printf '%s\n' "${values[@]}" | sort -n | awk '
		{ v[NR] = $1 } END { m = v[int((NR + 1) / 2)]; printf "%.2f %.2f\n", m, 100 * (v[NR] - v[1]) / m }')
	before=$(old "$row" 2)
	more=$(awk -v a="$median" -v b="${before:-0}" 'BEGIN { if (b > 0) printf "%+.2f %%", 100 * (a / b - 1); else print "-" }')
	case $what in
	record)
		gate=$(awk -v s="$spread" 'BEGIN { print s <= 0.5 ? "gate" : "free" }')
		printf '%-18s %12s %8s %s\n' "$row" "$median" "$spread" "$gate" | tee -a "$out"
		;;
	check)
		word=ok
		if awk -v a="$median" -v b="$before" -v l="$limit" 'BEGIN { exit !(a > b * (1 + l / 100)) }'; then word=FAIL status=1; fi
		printf '%-4s %-18s %12s instructions, %12s recorded: %s\n' "$word" "$row" "$median" "$before" "$more"
		;;
	*) printf '%-18s %12s instructions, %12s recorded: %s\n' "$row" "$median" "${before:--}" "$more" ;;
	esac
done <<<"$rows"
if [ "$what" = record ]; then
	{
		echo "# Instructions per operation, all threads: tools/instructions.sh BUILD record. Row, median of five, how far they lie apart in per cent."
		echo "# recorded with: $(machine)"
		cat "$out"
	} >"$record"
fi
exit $status
