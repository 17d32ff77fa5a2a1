/* words: a text that is put together in a buffer of fixed size; what does not fit is left out. */
#ifndef LP_WORDS_H
#define LP_WORDS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

struct lp_words {
	char *text;
	size_t size, at;
};

__attribute__((format(printf, 2, 3))) static inline void lp_say(struct lp_words *w, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(w->text + w->at, w->size - w->at, format, args);
	va_end(args);
	if (n > 0)
		w->at += (size_t)n < w->size - w->at ? (size_t)n : w->size - w->at - 1;
}

#endif
