/* Channels without Lua: order, capacity, closing, giving up; then random sends and receives on both ends of
 * several channels at once, with timeouts and cancellations: every message arrives exactly once or is still
 * its sender's. */
#include <sched.h>
#include <string.h>

#include "sync/channel.h"
#include "test.h"

static struct lp_packet *packet(uint64_t id)
{
	struct lp_packet *p = lp_packet_new();
	if (!p || !lp_msg_room(&p->msg, sizeof id))
		abort();
	memcpy(p->msg.data, &id, sizeof id);
	p->msg.len = sizeof id;
	return p;
}

static uint64_t open_packet(struct lp_packet *p)
{
	uint64_t id;
	memcpy(&id, p->msg.data, sizeof id);
	lp_packet_free(p);
	return id;
}

static struct test_exec me;

enum { SENT = 1, FULL = -1, CLOSED = -2 };
static int send_now(struct lp_channel *ch, uint64_t id)
{
	struct lp_node n = {.obj = &ch->obj, .op = LP_CHANNEL_SEND, .value = packet(id)};
	bool over = lp_wait_one(&me.exec, &n, 0) == 0;
	if (over && n.result == LP_CHANNEL_OK)
		return SENT;
	lp_packet_free(n.value);
	return over ? CLOSED : FULL;
}

static int64_t receive_now(struct lp_channel *ch)
{
	struct lp_node n = {.obj = &ch->obj, .op = LP_CHANNEL_RECEIVE};
	if (lp_wait_one(&me.exec, &n, 0) != 0)
		return FULL;
	return n.result == LP_CHANNEL_CLOSED ? CLOSED : (int64_t)open_packet(n.value);
}

static unsigned waiting(struct lp_channel *ch)
{
	unsigned s, r;
	lp_channel_waiting(ch, &s, &r);
	return s + r;
}

static void first_in_first_out(void)
{
	struct lp_channel *ch = lp_channel_new(3);
	CHECK(receive_now(ch) == FULL);
	CHECK(send_now(ch, 1) == SENT && send_now(ch, 2) == SENT && send_now(ch, 3) == SENT);
	CHECK(send_now(ch, 4) == FULL && lp_channel_len(ch) == 3);
	CHECK(receive_now(ch) == 1 && receive_now(ch) == 2);
	CHECK(send_now(ch, 5) == SENT);
	CHECK(lp_channel_close(ch) && !lp_channel_close(ch));
	CHECK(send_now(ch, 6) == CLOSED);
	CHECK(receive_now(ch) == 3 && receive_now(ch) == 5 && receive_now(ch) == CLOSED);
	lp_release(ch);
}

static void what_is_left_is_freed(void)
{
	struct lp_channel *ch = lp_channel_new(LP_UNBOUNDED);
	for (uint64_t i = 0; i < 1000; i++)
		send_now(ch, i);
	lp_release(ch);
}

/* A message in a channel that names the channel makes no circle; a long chain is no deep recursion. */
static void circles_and_chains(void)
{
	uint32_t index;
	struct lp_channel *ch = lp_channel_new(2);
	struct lp_packet *p = packet(7);
	CHECK(lp_msg_add_obj(&p->msg, &ch->obj, &index));
	CHECK(atomic_load(&ch->obj.refs) == 2);
	struct lp_node n = {.obj = &ch->obj, .op = LP_CHANNEL_SEND, .value = p};
	CHECK(lp_wait_one(&me.exec, &n, 0) == 0 && atomic_load(&ch->obj.refs) == 1);
	n = (struct lp_node){.obj = &ch->obj, .op = LP_CHANNEL_RECEIVE};
	CHECK(lp_wait_one(&me.exec, &n, 0) == 0 && atomic_load(&ch->obj.refs) == 2);
	p = n.value;
	n = (struct lp_node){.obj = &ch->obj, .op = LP_CHANNEL_SEND, .value = p};
	CHECK(lp_wait_one(&me.exec, &n, 0) == 0);
	for (int i = 0; i < 200000; i++) { /* each is the only one to hold the one before */
		struct lp_channel *outer = lp_channel_new(1);
		p = packet(8);
		lp_msg_add_obj(&p->msg, &ch->obj, &index);
		lp_release(ch);
		n = (struct lp_node){.obj = &outer->obj, .op = LP_CHANNEL_SEND, .value = p};
		if (lp_wait_one(&me.exec, &n, 0) != 0)
			CHECK(!"sent");
		ch = outer;
	}
	lp_release(ch); /* the leak checker and the stack say whether it worked */
}

/* ---- waiters ---- */

struct waiter {
	struct test_exec e;
	struct lp_node n;
	int answer;
	struct lp_channel *ch;
};

static void *wait_run(void *arg)
{
	struct waiter *w = arg;
	atomic_store(&w->e.parker, lp_parker_self());
	w->answer = lp_wait_one(&w->e.exec, &w->n, LP_FOREVER);
	lp_channel_handle_gone(w->ch);
	return NULL;
}

static void waiter_init(struct waiter *w, struct lp_channel *ch, int op)
{
	*w = (struct waiter){.ch = lp_retain(ch), .n = {.obj = &ch->obj, .op = op}};
	test_exec_init(&w->e);
	if (op & LP_CHANNEL_SEND)
		w->n.value = packet(99);
}

static void closing_wakes_both_ends(void)
{
	for (int op = 0; op < 2; op++) {
		struct lp_channel *ch = lp_channel_new(0);
		struct waiter w[20];
		pthread_t t[20];
		for (int i = 0; i < 20; i++) {
			waiter_init(&w[i], ch, op);
			t[i] = test_start(wait_run, &w[i]);
		}
		UNTIL(waiting(ch) == 20);
		lp_channel_close(ch);
		for (int i = 0; i < 20; i++) {
			pthread_join(t[i], NULL);
			CHECK(w[i].answer == 0 && w[i].n.result == LP_CHANNEL_CLOSED);
			if (op)
				CHECK(open_packet(w[i].n.value) == 99); /* still the sender's */
		}
		lp_release(ch);
	}
}

static void given_up_channels_close(void)
{
	for (int round = 0; round < 60; round++) {
		struct lp_channel *ch = lp_channel_new(round % 2 ? 0 : 1);
		struct waiter w[10];
		pthread_t t[10];
		for (int i = 0; i < 10; i++) {
			waiter_init(&w[i], ch, LP_CHANNEL_RECEIVE | LP_CHANNEL_ONLY);
			t[i] = test_start(wait_run, &w[i]);
		}
		if (round % 3) /* the handle goes before, among, or after the waits */
			UNTIL(waiting(ch) == (round % 3 == 1 ? 10 : 3) || round % 3 == 2);
		lp_channel_handle_gone(ch);
		for (int i = 0; i < 10; i++) {
			pthread_join(t[i], NULL);
			CHECK(w[i].answer == 0 && w[i].n.result == LP_CHANNEL_CLOSED);
		}
	}
}

static void a_held_channel_stays_open(void)
{
	struct lp_channel *ch = lp_channel_new(0);
	struct waiter w[2];
	pthread_t t[2];
	for (int i = 0; i < 2; i++) {
		waiter_init(&w[i], ch, LP_CHANNEL_RECEIVE | (i ? LP_CHANNEL_ONLY : 0)); /* one may go on by itself */
		t[i] = test_start(wait_run, &w[i]);
	}
	UNTIL(waiting(ch) == 2);
	lp_retain(ch);
	lp_channel_handle_gone(ch);
	usleep(1000);
	CHECK(waiting(ch) == 2 && !lp_channel_closed(ch));
	test_cancel(&w[0].e);
	pthread_join(t[0], NULL);
	CHECK(w[0].answer == LP_CANCELLED);
	CHECK(waiting(ch) == 1 && !lp_channel_closed(ch)); /* we hold it */
	lp_channel_handle_gone(ch);
	pthread_join(t[1], NULL);
	CHECK(w[1].n.result == LP_CHANNEL_CLOSED);
}

/* ---- random ---- */

enum { THREADS = 4, CHANNELS = 4 };
static struct lp_channel *channels[CHANNELS];
static struct test_exec execs[THREADS];
static _Atomic uint64_t sent_sum, sent, received_sum, received, met_itself;
static _Atomic bool stop;
static int rounds;

static void *mix(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec *e = &execs[self];
	uint64_t seed = 1234567 + (uint64_t)self * 104729;
	atomic_store(&e->parker, lp_parker_self());
	for (int i = 0; i < rounds; i++) {
		struct lp_node nodes[6];
		int n = 1 + (int)(test_random(&seed) % 6);
		uint64_t id = (uint64_t)self << 32 | (unsigned)i;
		for (int k = 0; k < n; k++) {
			int op = (int)(test_random(&seed) % 2);
			nodes[k] = (struct lp_node){.obj = &channels[test_random(&seed) % CHANNELS]->obj, .op = op};
			if (op == LP_CHANNEL_SEND)
				nodes[k].value = packet(id);
		}
		uint32_t dice = test_random(&seed) % 8;
		lp_time d = dice == 0 ? 0 : lp_now() + (lp_time)(test_random(&seed) % 80000);
		int r = lp_wait_any(&e->exec, nodes, n, d);
		if (r == LP_CANCELLED)
			test_uncancel(e);
		for (int k = 0; k < n; k++) {
			if (lp_linked(&nodes[k].link))
				CHECK(!"a node is still linked");
			if (nodes[k].op == LP_CHANNEL_SEND && k == r) {
				atomic_fetch_add(&sent, 1);
				atomic_fetch_add(&sent_sum, id);
			} else if (nodes[k].op == LP_CHANNEL_SEND) {
				if (open_packet(nodes[k].value) != id)
					CHECK(!"the sender's own message");
			} else if (k == r) {
				uint64_t got = open_packet(nodes[k].value);
				atomic_fetch_add(&received, 1);
				atomic_fetch_add(&received_sum, got);
				if (got == id)
					atomic_fetch_add(&met_itself, 1);
			}
		}
	}
	return NULL;
}

static void *cancel_at_random(void *arg)
{
	(void)arg;
	uint64_t seed = 99;
	while (!atomic_load(&stop)) {
		test_cancel(&execs[test_random(&seed) % THREADS]);
		for (uint32_t i = test_random(&seed) % 500; i; i--)
			lp_relax();
		sched_yield();
	}
	return NULL;
}

static void every_message_arrives_once(void)
{
	static const size_t capacities[CHANNELS] = {0, 0, 1, 3};
	pthread_t t[THREADS];
	rounds = test_rounds(100000);
	for (int i = 0; i < CHANNELS; i++)
		channels[i] = lp_channel_new(capacities[i]);
	for (int i = 0; i < THREADS; i++)
		test_exec_init(&execs[i]);
	for (int i = 0; i < THREADS; i++)
		t[i] = test_start(mix, (void *)(intptr_t)i);
	pthread_t c = test_start(cancel_at_random, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&stop, true);
	pthread_join(c, NULL);
	uint64_t left = 0;
	for (int i = 0; i < CHANNELS; i++) {
		int64_t id;
		CHECK(waiting(channels[i]) == 0 && channels[i]->stuck == 0);
		while ((id = receive_now(channels[i])) >= 0) {
			left++;
			atomic_fetch_add(&received_sum, (uint64_t)id);
		}
		CHECK(lp_channel_len(channels[i]) == 0);
		lp_release(channels[i]);
	}
	printf("sent %llu, received %llu, left %llu\n", (unsigned long long)atomic_load(&sent),
		(unsigned long long)atomic_load(&received), (unsigned long long)left);
	CHECK(atomic_load(&sent) == atomic_load(&received) + left);
	CHECK(atomic_load(&sent_sum) == atomic_load(&received_sum));
	CHECK(atomic_load(&met_itself) == 0);
}

/* Two selects that claim each other, in both directions, for ever: each sends on one and receives on
 * the other of two rendezvous channels. Neither may hang, both must agree on who gave what. */
static struct lp_channel *pair[2];
static _Atomic uint64_t gave[2], took[2];
static _Atomic int running;

static void *two_ends(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec e;
	test_exec_init(&e);
	for (int i = 0; i < rounds; i++) {
		struct lp_node nodes[2] = {
			{.obj = &pair[self]->obj, .op = LP_CHANNEL_SEND, .value = packet(1)},
			{.obj = &pair[!self]->obj, .op = LP_CHANNEL_RECEIVE}};
		int r = lp_wait_any(&e.exec, nodes, 2, lp_now() + 50000000);
		if (r < 0 && atomic_load(&running) == 2)
			CHECK(r >= 0);
		if (r == 0) {
			atomic_fetch_add(&gave[self], 1);
		} else {
			lp_packet_free(nodes[0].value);
			if (r == 1)
				atomic_fetch_add(&took[self], open_packet(nodes[1].value));
		}
		if (r < 0)
			break;
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void two_selects_meet(void)
{
	rounds = test_rounds(60000);
	atomic_store(&running, 2);
	pair[0] = lp_channel_new(0), pair[1] = lp_channel_new(0);
	pthread_t a = test_start(two_ends, (void *)0), b = test_start(two_ends, (void *)1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	CHECK(atomic_load(&gave[0]) == atomic_load(&took[1]) && atomic_load(&gave[1]) == atomic_load(&took[0]));
	CHECK(atomic_load(&gave[0]) + atomic_load(&gave[1]) >= (uint64_t)rounds / 2);
	lp_release(pair[0]), lp_release(pair[1]);
}

int main(void)
{
	test_begin();
	test_exec_init(&me);
	first_in_first_out();
	what_is_left_is_freed();
	circles_and_chains();
	closing_wakes_both_ends();
	given_up_channels_close();
	a_held_channel_stays_open();
	every_message_arrives_once();
	two_selects_meet();
	return test_end();
}
