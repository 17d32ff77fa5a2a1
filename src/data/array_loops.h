/* array_loops: the loops of array_ops.c for one type; no header of its own right. Read with
 *   NAME(f)  f_i32, say        T     the type of an element
 *   REAL     f32, f64          WIDE  what sums of a block are made in
 *
 * No pointer is `restrict`: a user may add an array to itself, or to a shifted slice of itself. The compiler
 * tests once per call whether two arrays overlap, and takes the vectorised loop if not. */

/* An element as T. Whole numbers wrap around. */
#if REAL
#define VALUE(e) ((T)(e).f)
#else
#define VALUE(e) ((T)(e).i)
#endif

static void NAME(fill)(void *to, union lp_element v, size_t n)
{
	T *x = to, value = VALUE(v);
	for (size_t i = 0; i < n; i++)
		x[i] = value;
}

#if REAL
static WIDE NAME(lanes_sum)(const WIDE *lane)
{
	WIDE a[LANES];
	memcpy(a, lane, sizeof a);
	for (int step = LANES / 2; step; step /= 2)
		for (int k = 0; k < step; k++)
			a[k] += a[k + step];
	return a[0];
}

static WIDE NAME(sum_block)(const T *x, size_t n)
{
	WIDE lane[LANES] = {0}, rest = 0;
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int k = 0; k < LANES; k++)
			lane[k] += (WIDE)x[i + (size_t)k];
	for (; i < n; i++)
		rest += (WIDE)x[i];
	return NAME(lanes_sum)(lane) + rest;
}

static WIDE NAME(dot_block)(const T *x, const T *y, size_t n)
{
	WIDE lane[LANES] = {0}, rest = 0;
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int k = 0; k < LANES; k++)
			lane[k] += (WIDE)x[i + (size_t)k] * (WIDE)y[i + (size_t)k];
	for (; i < n; i++)
		rest += (WIDE)x[i] * (WIDE)y[i];
	return NAME(lanes_sum)(lane) + rest;
}

/* Half of n in whole blocks: where a pairwise sum is divided. */
static inline size_t NAME(half)(size_t n)
{
	return (n / 2 + BLOCK - 1) / BLOCK * BLOCK;
}

static WIDE NAME(sum_pairwise)(const T *x, size_t n)
{
	if (n <= BLOCK)
		return NAME(sum_block)(x, n);
	size_t half = NAME(half)(n);
	return NAME(sum_pairwise)(x, half) + NAME(sum_pairwise)(x + half, n - half);
}

static WIDE NAME(dot_pairwise)(const T *x, const T *y, size_t n)
{
	if (n <= BLOCK)
		return NAME(dot_block)(x, y, n);
	size_t half = NAME(half)(n);
	return NAME(dot_pairwise)(x, y, half) + NAME(dot_pairwise)(x + half, y + half, n - half);
}

static union lp_element NAME(sum)(const void *x, size_t n)
{
	return (union lp_element){.f = NAME(sum_pairwise)(x, n)};
}

static union lp_element NAME(dot)(const void *x, const void *y, size_t n)
{
	return (union lp_element){.f = NAME(dot_pairwise)(x, y, n)};
}
#else
static union lp_element NAME(sum)(const void *at, size_t n)
{
	const T *x = at;
	uint64_t sum = 0;
	while (n > 0) { /* a block's sum does not leave WIDE */
		size_t m = n < BLOCK ? n : BLOCK;
		WIDE block = 0;
		for (size_t i = 0; i < m; i++)
			block += (WIDE)x[i];
		sum += (uint64_t)block;
		x += m;
		n -= m;
	}
	return (union lp_element){.i = (int64_t)sum};
}

static union lp_element NAME(dot)(const void *a, const void *b, size_t n)
{
	const T *x = a, *y = b;
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (uint64_t)x[i] * (uint64_t)y[i];
	return (union lp_element){.i = (int64_t)sum};
}
#endif

/* Products of whole numbers are made without a sign: their overflow is defined. */
#if REAL
#define PRODUCT(a, b) ((a) * (b))
#define SUM(a, b) ((a) + (b))
#else
#define PRODUCT(a, b) ((uint64_t)(a) * (uint64_t)(b))
#define SUM(a, b) ((uint64_t)(a) + (uint64_t)(b))
#endif

static void NAME(scale)(void *to, union lp_element factor, size_t n)
{
	T *x = to, k = VALUE(factor);
	for (size_t i = 0; i < n; i++)
		x[i] = (T)PRODUCT(x[i], k);
}

static void NAME(axpy)(void *to, union lp_element factor, const void *from, size_t n)
{
	T *y = to, k = VALUE(factor);
	const T *x = from;
	for (size_t i = 0; i < n; i++)
		y[i] = (T)SUM(y[i], PRODUCT(k, x[i]));
}

static bool NAME(equal)(const void *a, const void *b, size_t n)
{
	const T *x = a, *y = b;
	for (size_t i = 0; i < n;) {
		size_t end = n - i < BLOCK ? n : i + BLOCK;
		int differ = 0;
		for (; i < end; i++)
			differ |= x[i] != y[i];
		if (differ)
			return false;
	}
	return true;
}

static size_t NAME(find)(const void *at, size_t n, union lp_element v)
{
	const T *x = at, value = VALUE(v);
	for (size_t i = 0; i < n;) {
		size_t end = n - i < BLOCK ? n : i + BLOCK;
		int found = 0;
		for (size_t k = i; k < end; k++)
			found |= x[k] == value;
		for (; i < end; i++)
			if (found && x[i] == value)
				return i;
	}
	return n;
}

static bool NAME(extreme)(const void *at, size_t n, bool greatest, union lp_element *e)
{
	const T *x = at;
	if (n == 0)
		return false;
#if REAL
	/* A comparison with NaN is false: it leaves the lane as it is. */
	T lane[LANES], worst = greatest ? (T)-HUGE_VAL : (T)HUGE_VAL;
	for (int k = 0; k < LANES; k++)
		lane[k] = worst;
	size_t i = 0;
	if (greatest)
		for (; i + LANES <= n; i += LANES)
			for (int k = 0; k < LANES; k++)
				lane[k] = x[i + (size_t)k] > lane[k] ? x[i + (size_t)k] : lane[k];
	else
		for (; i + LANES <= n; i += LANES)
			for (int k = 0; k < LANES; k++)
				lane[k] = x[i + (size_t)k] < lane[k] ? x[i + (size_t)k] : lane[k];
	T best = worst;
	for (int k = 0; k < LANES; k++)
		best = (greatest ? lane[k] > best : lane[k] < best) ? lane[k] : best;
	for (; i < n; i++)
		best = (greatest ? x[i] > best : x[i] < best) ? x[i] : best;
	e->f = (double)best;
	/* Infinity may be an answer, or what is left of nothing but NaN. */
	return best != worst || NAME(find)(x, n, *e) < n;
#else
	T best = x[0];
	if (greatest)
		for (size_t i = 1; i < n; i++)
			best = x[i] > best ? x[i] : best;
	else
		for (size_t i = 1; i < n; i++)
			best = x[i] < best ? x[i] : best;
	e->i = (int64_t)best;
	return true;
#endif
}

#undef VALUE
#undef PRODUCT
#undef SUM
#undef NAME
#undef T
#undef WIDE
#undef REAL
