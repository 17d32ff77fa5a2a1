-- busted under the interpreter that runs this file (its own script takes whatever `lua` is).
require "busted.runner" {standalone = false}
