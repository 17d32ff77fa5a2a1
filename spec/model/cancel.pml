/* cancel: one worker's thread that runs a task which is cancelled, and then an innocent one.
 *
 * What the model has: the request's word and its owner for each transition, the worker's lock that pins the task,
 * the signal with its moment of arrival, the hook, the shield, the clean-up with its grace, the end of the task and
 * the reuse of the thread. Where the source does something in one step here, it does it under the lock named.
 *
 *   src/stop.c      request(), lp_poke()            -> canceller, poke
 *   src/monitor.c   look()                          -> monitor
 *   src/signals.c   deliver(), stop_hook            -> deliver, lua
 *   src/worker.c    push, pop, set_scope            -> worker
 *   stop.c          on_signal, lp_flush_signal      -> handler, flush
 *
 * Each of the seeded bugs below has to be found (tools/model.sh does that):
 *   NO_FLUSH     no system call after the lock: a pending signal meets the next task's call
 *   NO_PIN       the poke looks first and sends later, without the lock
 *   NO_RESEND    the signal is sent once
 *   NO_SHIELD    the poke does not ask for the shield
 *   NO_GRACE     the request is never made final
 *   NO_CAS       who cancels a pending task does not decide it against the worker that starts it
 */
// pan: -a -f -m200000
// cc: -DVECTORSZ=512 -DNFAIR=3
// bugs: NO_FLUSH NO_PIN NO_RESEND NO_SHIELD NO_GRACE NO_CAS

mtype = { PENDING, RUNNING, DONE, STOPPED };

mtype state = PENDING;   /* of the task that is cancelled */
bool asked, delivered, final; /* the word: ASKED, DELIVERED, FINAL */
bool requested;          /* somebody called cancel */
byte actor;              /* 0: nobody, 1: the cancelled task, 2: the innocent one */
bool lock;               /* the worker's */
bool shield;
bool pending, signalled; /* our signal for the worker's thread: not yet taken; maybe not yet taken */
bool hook;               /* on the running coroutine */
bool blocked, eintr;     /* the thread sleeps in a system call; a signal has ended it */
byte told;               /* how often before the grace was over */
bool started, innocent_done, answered;

#define ended (state == DONE || state == STOPPED)
#define interrupt (actor == 1 && asked && !shield)

inline take() { atomic { !lock -> lock = true } }
inline give() { lock = false }

/* The signal handler runs on the worker's thread, between two of its steps. */
inline handler()
{
	pending = false;
	hook = hook || interrupt
}

/* The kernel delivers when it likes to a thread that runs, and wakes one that sleeps. */
active proctype kernel()
{
end:	do
	:: atomic { pending -> handler(); eintr = eintr || blocked }
	od
}

/* Any system call: what is pending is delivered as it returns. */
inline flush()
{
#ifndef NO_FLUSH
	if
	:: signalled ->
		signalled = false;
		atomic { if :: pending -> handler() :: else fi }
	:: else
	fi
#else
	skip
#endif
}

/* One step when the lock is free: all that it does, it does under the lock. */
inline poke()
{
#ifdef NO_PIN
	if
	:: interrupt -> signalled = true; pending = true
	:: else
	fi
#else
	atomic {
		!lock ->
		if
#ifdef NO_SHIELD
		:: actor == 1 && asked -> signalled = true; pending = true
#else
		:: interrupt -> signalled = true; pending = true
#endif
		:: else
		fi
	}
#endif
}

proctype monitor()
{
	do
	:: ended -> break
#ifndef NO_RESEND
	:: !ended && asked -> poke()
#endif
#ifndef NO_GRACE
	:: !ended && delivered && !asked && !final -> atomic { final = true; asked = true } poke()
#endif
#if defined(NO_RESEND) && defined(NO_GRACE)
	:: false
#endif
	od
}

active proctype canceller()
{
	requested = true;
	if
#ifdef NO_CAS
	:: state == PENDING -> state = STOPPED
#else
	:: atomic { state == PENDING -> state = STOPPED }
#endif
	:: atomic { state == RUNNING -> asked = true } poke(); run monitor()
	:: ended
	fi;
	ended -> answered = true
}

/* ---- the worker's thread ---- */

/* What is to be told is taken, so that the clean-up is not told again. */
inline deliver()
{
	take();
	if
	:: !final -> asked = false; delivered = true; told++
	:: else
	fi;
	give();
	flush();
	if :: !final -> hook = false :: else fi
}

/* A system call that sleeps for ever unless a signal comes: read() of a pipe that nobody writes to. */
inline sleep_for_ever()
{
	atomic { if :: pending -> handler(); eintr = true :: else -> blocked = true fi };
	atomic { eintr -> blocked = false; eintr = false }
}

/* One that must not be interrupted: it ends by itself in a while. */
inline innocent_call()
{
	atomic { if :: pending -> handler(); eintr = true :: else -> blocked = true fi };
	atomic { blocked = false; assert(!eintr) }
}

active proctype worker()
{
	/* The task that may be cancelled. */
	if
	:: atomic { state == PENDING -> state = RUNNING } started = true
	:: state != PENDING -> goto next
	fi;
	take(); actor = 1; give();
	do
	:: if /* whatever it does ... */
		:: skip
		:: true -> sleep_for_ever()
		:: /* a wait of our own looks at the word itself */
			if :: interrupt -> deliver(); goto cleanup :: !interrupt fi
		:: /* a shield around a call that must not be torn */
			take(); shield = true; give(); flush();
			innocent_call();
			take(); shield = false; give(); flush();
			if :: interrupt -> deliver(); goto cleanup :: !interrupt fi
		:: goto ends
		fi;
		if /* ... then comes a step of Lua code, where the hook fires */
		:: hook && interrupt -> deliver(); goto cleanup
		:: hook && !interrupt -> hook = false
		:: !hook
		fi
	od;

cleanup:
	if
	:: true /* a call in it works as ever, while the grace lasts */
	:: true -> atomic { if :: pending -> handler(); eintr = true :: else -> blocked = true fi };
		atomic { blocked = false; assert(!eintr || final); eintr = false }
	fi;
	do
	:: if /* or it goes on for ever */
		:: break
		:: skip
		:: true -> sleep_for_ever()
		fi;
		if
		:: hook && interrupt -> break
		:: hook && !interrupt -> hook = false
		:: !hook
		fi
	od;
ends:
	take(); actor = 0; give();
	flush();
	hook = false;
	assert(state == RUNNING);
	/* The truth of what cancel answers: it ended cancelled exactly if it was told. */
	if
	:: delivered -> state = STOPPED
	:: !delivered -> state = DONE
	fi;

next:
	/* The innocent one, on the same thread. */
	assert(!started || ended);
	assert(state != STOPPED || !started || delivered);
	take(); actor = 2; give();
	innocent_call();
	assert(!hook && !pending);
	take(); actor = 0; give();
	flush();
	assert(told <= 1);
	innocent_done = true
}

/* A cancelled task ends, whoever cancels gets an answer, and the worker goes on. */
ltl ends { [] (requested -> <> (answered && innocent_done)) }
