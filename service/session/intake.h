/* intake.h - one message on its way into the queue: envelope, header fields that we add, body.
 * The body stays in memory up to limits.message_memory and then flows to the store in chunks; in
 * all, bodies hold at most limits.memory. The message is ours (and `250` may be said) only after
 * on_stored with INTAKE_STORED.
 * Owner: whoever made it, until intake_submit or intake_drop; from then on it owns itself. Threads:
 * the desk's. Failure: intake_body tells it at once or the end does; nothing half stored stays. */
#ifndef POSTERN_SESSION_INTAKE_H
#define POSTERN_SESSION_INTAKE_H

#include "message/header.h"
#include "message/received.h"
#include "session/env.h"
#include "smtp/path.h"

enum intake_result {
    INTAKE_STORED,
    INTAKE_FULL,   /* 452 4.3.1: the disk's reserve or the memory bound is reached */
    INTAKE_FAILED, /* 451 4.3.0: the store did not take it for now */
    INTAKE_HOPS,   /* 554 5.4.6: too many Received lines */
};

struct intake;

/* Calls come on the desk's thread, only while `owner` is still in the desk's slots. */
struct intake_events {
    void (*on_room)(void *owner); /* after intake_wants_pause: go on feeding */
    void (*on_stored)(void *owner, enum intake_result result, uint64_t id, const struct err *why);
};

/* NULL without memory. The policy is referenced and stays in force for this message. */
struct intake *intake_new(struct session_desk *desk, struct policy *policy, struct slot_id owner,
                          const struct intake_events *events);
void intake_drop(struct intake **in); /* also what it had stored already */

const char *intake_token(const struct intake *in); /* stands in Received and in the reply */
struct policy *intake_policy(const struct intake *in);

/* The sender is stored as given here (masquerading is the caller's). Spans are copied. */
bool intake_sender(struct intake *in, const struct queue_envelope *envelope);
bool intake_resend(struct intake *in, struct span sender); /* another sender than was given */
/* From: gets this address, with the name that the message has there; before intake_begin. */
bool intake_rewrite_from(struct intake *in, struct span address);
bool intake_recipient(struct intake *in, const struct queue_addressee *recipient);
size_t intake_recipients(const struct intake *in);

/* Header fields to put on top, before the body comes: `received` without id and recipient, which
 * are filled in here. complete: add Date and Message-ID where they are missing. */
bool intake_begin(struct intake *in, const struct received_info *received, bool complete);

/* False: the body is not wanted any more (intake_failure says why); go on consuming it from the
 * client without feeding it here. */
bool intake_body(struct intake *in, struct span bytes);
enum intake_result intake_failure(const struct intake *in);
/* True: stop feeding until on_room. */
bool intake_wants_pause(struct intake *in);
uint64_t intake_size(const struct intake *in);

/* Hands it over; on_stored follows (never from inside this call), then the intake is gone. */
void intake_submit(struct intake **in);

#endif
