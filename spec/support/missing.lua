-- missing: what becomes of a spec whose program or library is not installed here. It is pending, and says so; where everything
-- has to be there (LUA_POOL_NEEDS_ALL=1: the check that decides about a change), it fails.
local missing = {}

missing.fails = os.getenv "LUA_POOL_NEEDS_ALL" == "1"

--- Instead of the specs of a file or of a describe, with its own `it` and `pending`.
function missing.all(it, pending, reason)
	if not missing.fails then return pending(reason) end
	it("has what it needs", function() error(reason .. " (LUA_POOL_NEEDS_ALL=1 says that it has to be)", 0) end)
end

--- Inside of one spec: `return missing.here(pending, "no strace")`.
function missing.here(pending, reason)
	if not missing.fails then return pending(reason) end
	error(reason .. " (LUA_POOL_NEEDS_ALL=1 says that it has to be)", 0)
end

return missing
