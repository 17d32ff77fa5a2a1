/* host: see host.h. */
#include "sched/host.h"

static lp_mutex hosts_lock = LP_MUTEX_INIT(LP_RANK_HOSTS);
static struct lp_link hosts = {&hosts, &hosts}; /* [hosts_lock] */
static uint64_t hosts_made;                     /* [hosts_lock] */

/* A forked child: the states go on, their tasks are the parent's. */
static void renew_hosts(void)
{
	for (struct lp_link *l = hosts.next, *next; l != &hosts; l = next) {
		struct lp_host *h = lp_entry(l, struct lp_host, link);
		next = l->next;
		if (atomic_load(&h->left))
			lp_list_remove(l);
		h->obj.generation = lp_generation;
		atomic_store(&h->detached, 0);
		atomic_store(&h->parker, NULL);
		lp_lock_init(&h->lights_lock, LP_RANK_LIGHTS);
		lp_lock_init(&h->exec.place_lock, LP_RANK_PLACE);
		for (struct lp_link *k = h->lights.next; k != &h->lights; k = k->next)
			lp_lock_init(&lp_entry(k, struct lp_exec, light)->place_lock, LP_RANK_PLACE);
		lp_event_init(&h->quiet, &lp_event_class);
		lp_obj_set_part(&h->quiet.obj);
	}
}

__attribute__((constructor)) static void hosts_open(void)
{
	lp_fork_guard(&hosts_lock, LP_RANK_HOSTS);
	lp_fork_child(LP_RANK_HOSTS, renew_hosts);
}

static void host_destroy(struct lp_obj *o)
{
	struct lp_host *h = (struct lp_host *)o;
	lp_host_forget(h);
	lp_graph_lock(); /* nobody is looking at our exec through something that we hold */
	lp_graph_unlock();
	lp_free(h);
}

static const struct lp_class host_class = {.name = "lua-pool.host", .destroy = host_destroy};

struct lp_host *lp_host_new(void *L)
{
	struct lp_host *h = lp_alloc(sizeof *h);
	if (!h)
		return NULL;
	lp_obj_init(&h->obj, &host_class);
	lp_actor_init(&h->actor);
	h->exec = (struct lp_exec){.actor = &h->actor};
	lp_lock_init(&h->exec.place_lock, LP_RANK_PLACE);
	lp_list_init(&h->exec.suspended);
	atomic_store(&h->actor.exec, &h->exec);
	h->L = L;
	h->hook = NULL;
	atomic_init(&h->parker, NULL);
	atomic_init(&h->closing, false);
	h->last = 0;
	h->closed = false;
	atomic_init(&h->ender, 0);
	atomic_init(&h->over, false);
	atomic_init(&h->left, false);
	atomic_init(&h->detached, 0);
	lp_event_init(&h->quiet, &lp_event_class);
	lp_obj_set_part(&h->quiet.obj);
	lp_lock_init(&h->lights_lock, LP_RANK_LIGHTS);
	lp_list_init(&h->lights);
	lp_lock(&hosts_lock);
	h->number = ++hosts_made;
	lp_list_append(&hosts, &h->link);
	lp_unlock(&hosts_lock);
	return h;
}

void lp_host_add_light(struct lp_host *h, struct lp_exec *e)
{
	e->host = &h->exec;
	lp_lock(&h->lights_lock);
	lp_list_append(&h->lights, &e->light);
	lp_unlock(&h->lights_lock);
}

void lp_host_remove_light(struct lp_exec *e)
{
	if (!lp_linked(&e->light))
		return;
	struct lp_host *h = lp_entry(e->host, struct lp_host, exec);
	lp_lock(&h->lights_lock);
	lp_list_remove(&e->light);
	lp_unlock(&h->lights_lock);
}

void lp_host_forget_lights(struct lp_host *h)
{
	lp_lock(&h->lights_lock);
	while (lp_list_take_first(&h->lights))
		;
	lp_unlock(&h->lights_lock);
}

static _Atomic bool exiting;

void lp_host_exit_begins(void)
{
	atomic_store(&exiting, true);
}

void lp_host_stand_still(void)
{
	while (atomic_load_explicit(&exiting, memory_order_acquire))
		lp_nap(LP_FOREVER);
}

void lp_host_wake_all(void)
{
	lp_lock(&hosts_lock);
	for (struct lp_link *l = hosts.next; l != &hosts; l = l->next) {
		struct lp_parker *p = atomic_load(&lp_entry(l, struct lp_host, link)->parker);
		if (p)
			lp_unpark(p); /* parkers are never freed; a needless wake-up does no harm */
	}
	lp_unlock(&hosts_lock);
}

void lp_host_detached_begin(struct lp_host *h)
{
	atomic_fetch_add(&h->detached, 1);
}

void lp_host_detached_end(struct lp_host *h)
{
	/* The last one after closing began wakes the closer; both sides are sequentially consistent,
	 * so one of them sees the other. */
	if (atomic_fetch_sub(&h->detached, 1) != 1 || !atomic_load(&h->closing))
		return;
	lp_event_set(&h->quiet);
	lp_host_forget_if_quiet(h);
}

void lp_host_forget_if_quiet(struct lp_host *h)
{
	if (!atomic_load(&h->left) || atomic_load(&h->detached))
		return;
	atomic_store(&h->over, true);
	lp_host_forget(h);
}

struct lp_host *lp_host_after(struct lp_host *h)
{
	struct lp_host *next = NULL;
	lp_lock(&hosts_lock);
	/* It may have left the list meanwhile, which is in the order of the numbers. */
	struct lp_link *l = h && lp_linked(&h->link) ? h->link.next : hosts.next;
	for (; l != &hosts && !next; l = l->next) {
		struct lp_host *i = lp_entry(l, struct lp_host, link);
		if (h && i->number <= h->number)
			continue;
		/* One whose count is 0 waits for our lock to leave the list: not to be revived. */
		uint32_t refs = atomic_load(&i->obj.refs);
		while (refs && !atomic_compare_exchange_weak(&i->obj.refs, &refs, refs + 1))
			;
		if (refs)
			next = i;
	}
	lp_unlock(&hosts_lock);
	lp_release(h);
	return next;
}

void lp_host_forget(struct lp_host *h)
{
	lp_lock(&hosts_lock);
	if (lp_linked(&h->link))
		lp_list_remove(&h->link);
	lp_unlock(&hosts_lock);
}

unsigned lp_host_count(void)
{
	unsigned n = 0;
	lp_lock(&hosts_lock);
	for (struct lp_link *l = hosts.next; l != &hosts; l = l->next)
		n++;
	lp_unlock(&hosts_lock);
	return n;
}
