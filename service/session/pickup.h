/* pickup.h - mail that programs put as files into mail/Pickup.
 * A file is taken when it was renamed in or has kept its size and nobody has it open for writing.
 * `x-sender:` and `x-receiver:` lines in front give the envelope; without them From, To, Cc and Bcc
 * do, and Bcc is taken out. The file is removed only after the message's commit. A file that is no
 * mail goes to Badmail with its reason.
 * Whoever may write there may relay: the access rules are asked with the origin Pickup.
 * Owner: run.c. Threads: its desk's; files are read on the file lane. */
#ifndef POSTERN_SESSION_PICKUP_H
#define POSTERN_SESSION_PICKUP_H

#include "session/env.h"

struct pickup;

struct pickup *pickup_open(struct session_desk *desk, struct err *e);
void pickup_start(struct pickup *p);
/* Takes no more files; what is under way is finished or left in place for the next start. */
void pickup_stop(struct pickup *p);
bool pickup_is_busy(const struct pickup *p);
void pickup_free(struct pickup **p); /* after its desk's worker has ended */

#endif
