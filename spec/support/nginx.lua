-- nginx: a real nginx with the Lua module on loopback, for specs, and a small client for it.
--
-- Every server has a folder of its own (configuration, logs, sockets), two worker processes, and a shell beside it that
-- holds the other end of a pipe: when the pipe closes, because stop() was called or because the spec's process is gone,
-- the shell ends nginx, in bounded time and by force if need be.
local has_socket, socket = pcall(require, "socket")

local nginx = {}
nginx.__index = nginx

local function write(path, text)
	local f = assert(io.open(path, "wb"))
	assert(f:write(text))
	f:close()
end

local function read(path)
	local f = io.open(path, "rb")
	if not f then return "" end
	local text = f:read "*a"
	f:close()
	return text
end

local function output(command)
	local p = io.popen(command)
	local text = p:read "*a"
	p:close()
	return text
end

--- Why no nginx can be had here; nil when it can.
function nginx.missing()
	if not has_socket then return "there is no lua-socket" end
	-- The PATH of Debian's ordinary users does not lead to it.
	nginx.program = output "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v nginx":match "%S+"
	if not nginx.program then return "there is no nginx" end
	nginx.modules = output(nginx.program .. " -V 2>&1"):match "%-%-modules%-path=(%S+)" or "/usr/lib/nginx/modules"
	if not io.open(nginx.modules .. "/ngx_http_lua_module.so") then return "nginx has no Lua module" end
end

-- $1: the folder, $2: nginx. Reads its stdin until it closes; then nginx gets 10 s for its end.
local keeper = [[
cd "$1" || exit 1
${LUA_POOL_PRELOAD:+env LD_PRELOAD=$LUA_POOL_PRELOAD} "$2" -p "$1" -c "$1/nginx.conf" >out 2>&1 </dev/null & master=$!
echo $master >master
cat >/dev/null
workers() { cat "/proc/$master/task/$master/children" 2>/dev/null; }
kill -TERM $master 2>/dev/null
turns=0
while kill -0 $master 2>/dev/null && [ $turns -lt 200 ]; do
	sleep 0.05; turns=$((turns + 1))
done
if kill -0 $master 2>/dev/null; then
	echo "nginx did not end" >forced
	kill -KILL $(workers) $master 2>/dev/null
fi
wait $master 2>/dev/null
]]

local template = [[
load_module @modules@/ndk_http_module.so;
load_module @modules@/ngx_http_lua_module.so;
@user@
worker_processes @workers@;
daemon off;
pid @dir@/pid;
error_log @dir@/error.log @level@;
env LUA_POOL_WORKERS; env LUA_POOL_PORTABLE; env TMPDIR@tmpdir@;
@main@
events { worker_connections 2048; }
http {
	access_log off;
	client_body_temp_path @dir@/tmp1; proxy_temp_path @dir@/tmp2; fastcgi_temp_path @dir@/tmp3;
	uwsgi_temp_path @dir@/tmp4; scgi_temp_path @dir@/tmp5;
	lua_package_path "@path@;;";
	lua_package_cpath "@cpath@;;";
	@http@
	server {
		listen 127.0.0.1:@port@ backlog=1024 @listen@;
		@server@
		location = /plain { return 200 "plain"; }
	}
}
]]

local function location(path, l)
	local handler = type(l) == "string" and ("content_by_lua_block { %s }"):format(l) or l[1]
	return ("location = %s { default_type text/plain; %s }\n"):format(path, handler)
end

local ports = 20000 + (tonumber((tostring({}):match "0x(%x+)" or "0"):sub(-6), 16) + os.time() * 37) % 11000

--- nginx.start(options) -> server. locations = { ["/path"] = Lua of a content handler | { directives } }; server, http,
--- main = further directives; workers (2), level of error.log ("notice"), tmpdir, user ("root" when we are), path = more
--- of package.path ("...;"); template = a whole configuration instead of ours, with the same @names@.
function nginx.start(o)
	local folder = output "mktemp -d /tmp/lua-pool-nginx.XXXXXX":match "%S+"
	local locations = {}
	for path, l in pairs(o.locations or {}) do locations[#locations + 1] = location(path, l) end
	local root = output "id -u":match "%d+" == "0"
	for _ = 1, 20 do
		ports = ports + 1
		local self = setmetatable({ dir = folder, port = ports }, nginx)
		local values = {
			modules = nginx.modules, dir = folder, port = self.port, workers = o.workers or 2, level = o.level or "notice",
			user = root and "user " .. (o.user or "root") .. ";" or "", path = (o.path or "") .. package.path, cpath = package.cpath,
			main = o.main or "", http = o.http or "", server = (o.server or "") .. table.concat(locations),
			listen = o.listen or "", tmpdir = o.tmpdir and "=" .. o.tmpdir or "",
		}
		os.execute("rm -f " .. folder .. "/error.log " .. folder .. "/out " .. folder .. "/master")
		write(folder .. "/nginx.conf", ((o.template or template):gsub("@(%w+)@", values)))
		write(folder .. "/keeper", keeper)
		if o.user then os.execute("chmod 755 " .. folder) end
		self.keeper = assert(io.popen(("%s sh %s/keeper %s %s"):format(o.wrap or "", folder, folder, nginx.program), "w"))
		if self:ready() then return self end
		local said = self:log() .. read(folder .. "/out")
		self.keeper:close()
		if not said:find("Address already in use", 1, true) then
			os.execute("rm -rf " .. folder)
			error("nginx did not start:\n" .. said, 2)
		end
	end
	error("no free port", 2)
end

--- Waits until it answers; false when it has ended, or does not in 20 s.
function nginx:ready()
	for _ = 1, 400 do
		local c = socket.tcp()
		c:settimeout(1)
		if c:connect("127.0.0.1", self.port) then
			c:close()
			-- Ours, and not another's on that port: it has written its pid.
			self.pid = tonumber(read(self.dir .. "/pid"):match "%d+")
			if self.pid and not read(self.dir .. "/error.log"):find("Address already in use", 1, true) then return true end
		end
		local master = read(self.dir .. "/master"):match "%d+"
		if master and not read("/proc/" .. master .. "/stat"):find "%) [^Z]" then return false end -- it has ended
		socket.sleep(0.05)
	end
	return false
end

--- Ends it and removes its folder; an error if it had to be forced. Answers what is in error.log.
function nginx:stop()
	if not self.keeper then return end
	self.keeper:close()
	self.keeper = nil
	local log, forced = self:log(), read(self.dir .. "/forced")
	os.execute("rm -rf " .. self.dir)
	if forced ~= "" then error(forced .. "\n" .. log, 2) end
	-- What a sanitizer finds, and a worker process that a signal ended (our own kills are the spec's business).
	if log:find "Sanitizer" or log:find "runtime error: [^\n]*%.[ch]:" or log:find "exited on signal [^9]" then error(log, 2) end
	return log
end

function nginx:log()
	return read(self.dir .. "/error.log")
end

--- The lines of the log that are worth a look: warnings and worse.
function nginx:complaints()
	local lines = {}
	for line in self:log():gmatch "[^\n]+" do
		if line:find "%[warn%]" or line:find "%[error%]" or line:find "%[crit%]" or line:find "%[alert%]" or line:find "%[emerg%]" then
			lines[#lines + 1] = line
		end
	end
	return table.concat(lines, "\n")
end

--- Waits until `pattern` is in the log (10 s).
function nginx:logged(pattern)
	return nginx.eventually(function() return self:log():find(pattern) ~= nil end)
end

function nginx.eventually(check, seconds)
	local limit = socket.gettime() + (seconds or 10)
	while not check() do
		if socket.gettime() > limit then return false end
		socket.sleep(0.005)
	end
	return true
end

--- Sends a signal to the master: "HUP" reloads, "QUIT" ends gracefully.
function nginx:signal(name)
	os.execute(("kill -%s %d"):format(name, self.pid))
end

--- Process ids of the workers, those that are leaving as well.
function nginx:processes()
	local list = {}
	for pid in read(("/proc/%d/task/%d/children"):format(self.pid, self.pid)):gmatch "%d+" do
		list[#list + 1] = tonumber(pid)
	end
	return list
end

--- What the kernel says of a process: number of threads, of descriptors.
function nginx.threads(pid)
	return tonumber(read(("/proc/%d/status"):format(pid)):match "\nThreads:%s*(%d+)")
end

function nginx.descriptors(pid)
	return tonumber(output(("ls /proc/%d/fd | wc -l"):format(pid)))
end

-- ---- the client ----

local connection = {}
connection.__index = connection

--- server:open(path [, method [, headers]]) -> connection: the request is sent; finish() reads the answer.
function nginx:open(path, method, headers)
	local c = socket.tcp()
	c:settimeout(30)
	assert(c:connect("127.0.0.1", self.port))
	assert(c:send(("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n"):format(method or "GET", path, headers or "")))
	return setmetatable({ socket = c }, connection)
end

--- -> status, body, headers (as they came). A connection that closes without an answer: 0 and what came.
function connection:finish()
	local text, err, partial = self.socket:receive "*a"
	text = text or partial or ""
	self.socket:close()
	if err == "timeout" then return 0, "timeout after " .. text, "" end
	local status, headers, body = text:match "^HTTP/1%.1 (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$"
	if not status then return 0, text, "" end
	if headers:lower():find("transfer-encoding: chunked", 1, true) then
		local parts, at, complete = {}, 1, false
		while true do
			local size, from = body:match("^(%x+)\r\n()", at)
			if not size then break end
			size = tonumber(size, 16)
			if size == 0 then complete = true break end
			parts[#parts + 1] = body:sub(from, from + size - 1)
			at = from + size + 2
		end
		body = table.concat(parts)
		if not complete then return 0, body, headers end
	end
	return tonumber(status), body, headers
end

--- Hangs up without reading.
function connection:abort()
	self.socket:close()
end

function nginx:get(path, ...)
	return self:open(path, ...):finish()
end

return nginx
