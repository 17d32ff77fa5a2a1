/* unpreload: loaded together with a sanitizer's runtime (tools/sanlua.sh). Takes LD_PRELOAD out of the
 * environment of the interpreter, so that the programs which a test starts run without the runtime: a
 * shell that was not built for ThreadSanitizer dies of it. */
#include <stdlib.h>

__attribute__((constructor)) static void forget(void)
{
	unsetenv("LD_PRELOAD");
}
