-- scale(n) -> how many repetitions to do where the specs' author would do n: TEST_SCALE is a percentage, which the
-- slow builds (sanitizers, valgrind) set below 100.
local percent = tonumber(os.getenv "TEST_SCALE" or "") or 100

return function(n, least)
	return math.max(least or 1, math.floor(n * percent / 100))
end
