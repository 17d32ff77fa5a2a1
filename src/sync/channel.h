/* channel: messages from whoever sends to whoever receives, first in, first out.
 *
 * Up to `capacity` messages lie in the channel; with capacity 0 a message goes from hand to hand, when
 * both are there. What the lock guards, and always holds while it is free:
 *   - senders wait only while the channel is full, receivers only while it is empty (capacity 0: both may
 *     be queued only if they are the two ends of one select, which cannot meet itself);
 *   - a message belongs to exactly one: to the sender until it is consumed, to the channel, or to
 *     the receiver. A receiver that left in the instant of delivery gets nothing, the next one does.
 *
 * A closed channel accepts nothing; what it holds can still be received, after that receivers are
 * told that it is closed. Whoever waits to send keeps the message.
 *
 * Counts make no circles: a message that lies in the very channel that it refers to holds no count of
 * it. Longer circles (a message in A refers to B and the other way round) last until one is drained.
 *
 * Given up: when all that still hold a count of the channel are the waits of blocked threads that wait
 * for nothing else and without a time limit, nobody can ever end them, so the channel closes itself.
 * It is looked at when a handle goes and when a wait begins. */
#ifndef LP_CHANNEL_H
#define LP_CHANNEL_H

#include "base/account.h"
#include "wait/msg.h"
#include "wait/wait.h"

/* packet: one message and where it came to lie. */
struct lp_packet {
	struct lp_packet *next;
	struct lp_account *account; /* charged for the packet; NULL: nobody, as in a free one */
	struct lp_msg msg;
	unsigned char buffer[96];
};

struct lp_packet *lp_packet_new(void); /* an empty message; NULL: out of memory */
void lp_packet_free(struct lp_packet *p); /* with what the message holds; NULL is fine */

#define LP_UNBOUNDED SIZE_MAX

struct lp_channel {
	struct lp_obj obj;
	lp_mutex lock;
	size_t capacity;                 /* [I] */
	_Atomic size_t len;              /* written under lock */
	_Atomic bool closed;             /* written under lock; never goes back */
	struct lp_packet *first, **last; /* [lock] the messages */
	struct lp_link senders;          /* [lock] nodes, the longest wait first */
	struct lp_link receivers;        /* [lock] */
	uint32_t stuck;                  /* [lock] queued nodes with LP_CHANNEL_ONLY */
	struct lp_channel *next_dead;    /* being destroyed */
	struct lp_obj *source;           /* counted; what sends without being asked, until it is closed: released then. NULL: nothing;
	                                  * set before the channel is shared, taken away under lock */
};

extern const struct lp_class lp_channel_class;

struct lp_channel *lp_channel_new(size_t capacity); /* count 1; NULL: out of memory */
/* Wakes everyone who waits. False: it was closed before. */
bool lp_channel_close(struct lp_channel *ch);
/* A message that its receiver will never look at: it is the first again, and the channel's. */
void lp_channel_put_back(struct lp_channel *ch, struct lp_packet *p);
/* A handle of the channel goes, and its count with it. */
void lp_channel_handle_gone(struct lp_channel *ch);

/* node.op. Send: node.value is the packet; when the node was consumed with result LP_CHANNEL_OK it is the
 * channel's, else still the sender's. Receive: node.value becomes the packet, which is the receiver's. */
enum {
	LP_CHANNEL_RECEIVE = 0,
	LP_CHANNEL_SEND = 1,
	LP_CHANNEL_ONLY = LP_NODE_ALONE, /* a flag */
};
/* node.result of a node that was consumed. */
enum { LP_CHANNEL_OK = 0, LP_CHANNEL_CLOSED = 1 };

static inline size_t lp_channel_len(struct lp_channel *ch)
{
	return atomic_load_explicit(&ch->len, memory_order_relaxed);
}

static inline bool lp_channel_closed(struct lp_channel *ch)
{
	return atomic_load_explicit(&ch->closed, memory_order_relaxed);
}

/* How many wait at this moment. */
void lp_channel_waiting(struct lp_channel *ch, unsigned *senders, unsigned *receivers);

#endif
