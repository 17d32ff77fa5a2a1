-- What both Luas have; code that asks for more tests for it (`table.unpack or unpack`).
std = "max"
max_line_length = 130
codes = true
cache = false

files["spec"] = {std = "max+busted", max_line_length = 150, ignore = {"212", "232", "241", "512"}}
files["examples/nginx"] = {std = "max+ngx_lua"}
files["lua-pool"] = {max_line_length = 140}
files["lua-pool/worker.lua"] = {ignore = {"121", "122"}} -- it is there to replace globals of the worker
files["**/*.rockspec"] = {std = "rockspec"}
files["**/.luacheckrc"] = {std = "luacheckrc"}
files["**/.busted"] = {std = "max"}
-- It prepares the globals of a worker.
files["lua-pool/worker.lua"] = {ignore = {"121", "122"}}
