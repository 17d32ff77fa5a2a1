-- What both Luas have; code that asks for more tests for it (`table.unpack or unpack`).
std = "max"
max_line_length = 120
codes = true
cache = false

files["spec"] = {std = "max+busted"}
files["**/*.rockspec"] = {std = "rockspec"}
files["**/.luacheckrc"] = {std = "luacheckrc"}
files["**/.busted"] = {std = "max"}
