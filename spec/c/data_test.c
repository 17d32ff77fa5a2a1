/* Arrays and dicts without Lua: moving memory, sorting without memory for a copy; then threads that change one dict at once,
 * while others wait for its keys. */
#include <string.h>

#include "data/array_ops.h"
#include "data/dict.h"
#include "test.h"

/* ---- arrays ---- */

static void views_keep_memory(void)
{
	struct lp_array *a = lp_array_new(&lp_array_class, LP_F64, 100);
	CHECK((uintptr_t)lp_array_data(a) % LP_STORE_ALIGN == 0);
	struct lp_array *v = lp_array_view(a, &lp_array_class, LP_F64, 80, 10);
	struct lp_span span;
	CHECK(lp_array_span(v, &span) && span.size == 80 && span.data == (unsigned char *)lp_array_data(a) + 80);
	lp_release(a);
	lp_release(v);
	memset(span.data, 1, span.size);
	lp_release(span.store);
	CHECK(!lp_array_new(&lp_array_class, LP_F64, LP_STORE_MAX / 8 + 1));
}

static void moving(void)
{
	struct lp_array *a = lp_array_new(&lp_buffer_class, LP_U8, 10);
	struct lp_transfer *t = lp_transfer_new(a);
	const char *why = NULL;
	void *data = lp_array_data(a);
	struct lp_array *there = (struct lp_array *)t->obj.cls->sent(&t->obj, &why);
	CHECK(there && lp_array_data(there) == data && !lp_array_data(a));
	CHECK(!t->obj.cls->sent(&t->obj, &why) && strstr(why, "moved already"));
	lp_release(there); /* nobody received it */
	CHECK(lp_array_data(a) == data);
	there = (struct lp_array *)t->obj.cls->sent(&t->obj, &why);
	there->obj.cls->received(&there->obj);
	CHECK(!a->store); /* not kept by the empty one */
	lp_release(there);
	CHECK(!lp_array_data(a));
	lp_release(t);
	lp_release(a);
}

static void sorting_in_place(void)
{
	uint64_t seed = 42;
	for (size_t n = 0; n < 300; n += 7) {
		double x[300], y[300];
		for (size_t i = 0; i < n; i++)
			x[i] = y[i] = (double)(int32_t)test_random(&seed) / 7;
		lp_sort_in_place_f64(x, n);
		lp_sort_f64(y, n);
		bool sorted = true;
		for (size_t i = 0; i < n; i++)
			sorted = sorted && x[i] == y[i] && (i == 0 || x[i - 1] <= x[i]);
		CHECK(sorted);
	}
}

/* ---- dicts ---- */

enum { THREADS = 4, KEYS = 16 };
static struct lp_dict *dict;
static int rounds;
static _Atomic int running;

static struct lp_dict_key key_of(uint64_t k)
{
	return (struct lp_dict_key){.kind = LP_KEY_INTEGER, .bits = k};
}

/* A value with a blob: its bytes are one number, again and again. */
static void big(struct lp_dict_value *v, uint32_t x)
{
	v->n = 0;
	v->blob = lp_blob_new();
	if (!v->blob || !lp_msg_room(&v->blob->msg, 256))
		abort();
	for (int i = 0; i < 64; i++)
		memcpy(v->blob->msg.data + 4 * i, &x, 4);
	v->blob->msg.len = 256;
}

static bool whole(const struct lp_dict_value *v)
{
	return !v->blob || (v->blob->msg.len == 256 && memcmp(v->blob->msg.data, v->blob->msg.data + 4, 252) == 0);
}

static void *change(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg * 7919 + 1;
	for (int i = 0; i < rounds; i++) {
		uint32_t r = test_random(&seed);
		struct lp_dict_key key = key_of(r % KEYS), sum = key_of(1000), kept = key_of(2000 + r % KEYS);
		struct lp_dict_value v = {0};
		struct lp_dict_change c = {.expires = LP_FOREVER};
		struct lp_number x = {.whole = true};
		switch (r >> 8 & 7) {
		case 0:
			big(&v, r);
			CHECK(lp_dict_put(dict, &key, &v, &c) == LP_DICT_OK);
			lp_release(v.blob);
			break;
		case 1:
			c.expires = lp_now() + (r >> 16);
			big(&v, r);
			lp_dict_put(dict, &key, &v, &c);
			lp_release(v.blob);
			break;
		case 2:
		case 3:
			if (lp_dict_get(dict, &key, &v, NULL)) {
				CHECK(whole(&v));
				lp_release(v.blob);
			}
			break;
		case 4:
			if (lp_dict_remove(dict, &key, &v, &c) == LP_DICT_OK) {
				CHECK(whole(&v));
				lp_release(v.blob);
			}
			break;
		case 5:
			c.mode = LP_DICT_ADD;
			v.n = 1;
			lp_dict_put(dict, &kept, &v, &c);
			break;
		default: {
			struct lp_blob *snapshot = lp_blob_new();
			size_t at = 0, n = 0;
			CHECK(snapshot && lp_dict_snapshot(dict, snapshot, true));
			while (lp_dict_record(snapshot, &at, &key, &v)) {
				CHECK(whole(&v));
				n++;
			}
			CHECK(n <= 2 * KEYS + 1);
			lp_release(snapshot);
		}
		}
		struct lp_dict_change stays = {.expires = LP_FOREVER, .keep_time = true};
		CHECK(lp_dict_incr(dict, &sum, (struct lp_number){.whole = true, .i = 1}, &x, &stays) == LP_DICT_OK);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Waits for keys that come and go; a wait that times out leaves nothing behind. */
static void *await_keys(void *arg)
{
	struct test_exec e;
	uint64_t seed = (uint64_t)(uintptr_t)arg * 104729 + 3;
	test_exec_init(&e);
	while (atomic_load(&running) > 0) {
		struct lp_dict_wait w = {.key = key_of(test_random(&seed) % KEYS)};
		struct lp_node n = {.obj = (struct lp_obj *)dict, .value = &w};
		if (lp_wait_one(&e.exec, &n, lp_now() + test_random(&seed) % 100000) == 0) {
			CHECK(whole(&w.value));
			lp_release(w.value.blob);
		}
	}
	return NULL;
}

static void many_threads(const struct lp_dict_options *o)
{
	pthread_t t[THREADS + 1];
	rounds = test_rounds(20000);
	dict = lp_dict_new(o);
	atomic_store(&running, THREADS);
	for (int i = 0; i < THREADS; i++)
		t[i] = test_start(change, (void *)(uintptr_t)(i + 1));
	t[THREADS] = test_start(await_keys, (void *)7);
	for (int i = 0; i <= THREADS; i++)
		pthread_join(t[i], NULL);
	struct lp_dict_key sum = key_of(1000);
	struct lp_dict_value v;
	int64_t total = 0;
	CHECK(lp_dict_get(dict, &sum, &v, NULL) && v.n == 9);
	memcpy(&total, v.bytes + 1, 8);
	CHECK(total == (int64_t)THREADS * rounds);
	struct lp_dict_stats st;
	lp_dict_clear(dict);
	lp_dict_stats(dict, &st);
	CHECK(st.items == 0 && st.bytes == 0);
	lp_release(dict);
}

int main(void)
{
	test_begin();
	views_keep_memory();
	moving();
	sorting_in_place();
	many_threads(&(struct lp_dict_options){0});
	many_threads(&(struct lp_dict_options){.max_items = 100});
	return test_end();
}
