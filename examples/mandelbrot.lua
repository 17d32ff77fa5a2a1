-- Draws the Mandelbrot set on all cores, a row of the picture per element:
--
--   lua examples/mandelbrot.lua [SIZE] [FILE]        (512, mandelbrot.pgm)
--
-- The picture is a PGM file, which image viewers open.
local pool = require "lua-pool"

local size = tonumber(arg[1] or 512)
local path = arg[2] or "mandelbrot.pgm"
if not size or size < 1 or size ~= math.floor(size) then
	io.stderr:write("the size must be a whole number of at least 1\n")
	os.exit(1)
end

local LIMIT = 255

-- The row's pixels as a string: how soon each point leaves the circle of radius 2; black, if never.
local function row(y)
	local pixels = {}
	local ci = 2.5 * (y - 0.5) / size - 1.25
	for x = 1, size do
		local cr = 2.5 * (x - 0.5) / size - 1.9
		local zr, zi, n = 0, 0, 0
		while n < LIMIT and zr * zr + zi * zi <= 4 do
			zr, zi, n = zr * zr - zi * zi + cr, 2 * zr * zi + ci, n + 1
		end
		pixels[x] = string.char(LIMIT - n)
	end
	return table.concat(pixels)
end

local start, cpu = pool.now(), os.clock()
local rows = pool.map(row, size, {progress = true})
local wall = pool.now() - start
cpu = os.clock() - cpu -- of all threads together

local file = assert(io.open(path, "wb"))
assert(file:write(("P5\n%d %d\n255\n"):format(size, size), table.concat(rows)))
assert(file:close())
print(("%s: %d x %d, %.2f s of work in %.2f s"):format(path, size, size, cpu, wall))
