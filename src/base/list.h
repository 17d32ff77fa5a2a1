/* list: an intrusive, circular, doubly linked list. A list head is a link that is not in a
 * node; an unlinked node has next == NULL, so "is it queued?" can be asked of the node. */
#ifndef LP_LIST_H
#define LP_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/lock.h"

struct lp_link {
	struct lp_link *next, *prev;
};

#define lp_entry(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void lp_list_init(struct lp_link *head)
{
	head->next = head->prev = head;
}

static inline bool lp_list_empty(const struct lp_link *head)
{
	return head->next == head;
}

static inline bool lp_linked(const struct lp_link *link)
{
	return link->next != NULL;
}

static inline void lp_list_append(struct lp_link *head, struct lp_link *link)
{
	lp_assert(head->next && head->prev->next == head);
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void lp_list_prepend(struct lp_link *head, struct lp_link *link)
{
	lp_assert(head->next && head->next->prev == head);
	link->prev = head;
	link->next = head->next;
	head->next->prev = link;
	head->next = link;
}

static inline void lp_list_remove(struct lp_link *link)
{
	lp_assert(link->next && link->next->prev == link && link->prev->next == link);
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->next = link->prev = NULL;
}

static inline struct lp_link *lp_list_take_first(struct lp_link *head)
{
	struct lp_link *link = head->next;
	if (link == head)
		return NULL;
	lp_list_remove(link);
	return link;
}

/* Moves everything in `from` to the end of `to`. */
static inline void lp_list_splice(struct lp_link *to, struct lp_link *from)
{
	if (lp_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	lp_list_init(from);
}

#endif
