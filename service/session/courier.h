/* courier.h - takes due mail out of the queue and brings it where it belongs.
 *
 *   queue.claim -> parcel (one message) -> route of each recipient -> deliveries (recipients of the
 *   parcel that go the same way) -> the Drop directory, or a destination: its waiting deliveries
 *   and its connections -> outcomes -> notices -> queue.finish
 *
 * Owner: run.c. Threads: all of it lives on one desk's thread, so no locks; courier_wake may be
 * called from any. Everything that blocks is a job: the queue on the store lane, large bodies on a
 * reading lane, Drop and Badmail on the file lane.
 * Failure: what cannot be delivered is deferred or reported to its sender; what cannot be recorded
 * is kept and recorded again, and meanwhile nothing more is claimed. */
#ifndef POSTERN_SESSION_COURIER_H
#define POSTERN_SESSION_COURIER_H

#include "session/env.h"

struct courier;

/* The desk stays the caller's; its policy must be set. Nothing is claimed before courier_start. */
struct courier *courier_open(struct session_desk *desk, struct err *e);

/* On the desk's thread from here on. */
void courier_start(struct courier *c);
/* After session_desk_adopt: what begins from now on goes by the new policy. */
void courier_adopt(struct courier *c);
/* Claims no more, tells idle peers QUIT; done is called once when nothing is under way. */
void courier_drain(struct courier *c, void (*done)(void *arg), void *arg);
/* Ends what is left at once. The queue frees the claims at its next open. */
void courier_abort(struct courier *c);

/* After the desk's worker was joined. */
void courier_free(struct courier **c);

/* There is new mail. From any thread, cheap. NULL is taken. */
void courier_wake(struct courier *c);
/* The same by an administrator's command: a next hop that refused our log-in is asked again now. */
void courier_try_now(struct courier *c);

struct courier_status {
    size_t parcels, connections, destinations;
};
struct courier_status courier_status(const struct courier *c);

#endif
