/* client_internal.h - what the files of the client engine share (client_engine.h is the public
 * one): client_engine.c drives, client_hello.c greets and negotiates, client_auth.c authenticates,
 * client_transaction.c hands a message over, client_outcome.c words verdicts. */
#ifndef POSTERN_SMTP_CLIENT_INTERNAL_H
#define POSTERN_SMTP_CLIENT_INTERNAL_H

#include "smtp/client_engine.h"

/* ---- client_outcome.c ---- */

/* What the peer said, as a verdict by the first digit of its code. */
void smtp_client_outcome_from_reply(struct smtp_client_outcome *o, const struct smtp_reply *reply);
/* Our own words, cleaned and cut. */
void smtp_client_outcome_set(struct smtp_client_outcome *o, enum smtp_client_result result,
                             const char *status, const char *text);

/* ---- client_engine.c ---- */

void smtp_client_enter(struct smtp_client *c, enum smtp_client_state state, int64_t now);
void smtp_client_command(struct smtp_client *c, const char *line); /* adds the CRLF */

/* The connection is of no more use: drops the output, settles the transaction as c->closing says.
 * c->closing must be set before. */
void smtp_client_close(struct smtp_client *c);
/* The peer broke the protocol, or the stream broke: closes with a temporary verdict of our own. */
void smtp_client_fail(struct smtp_client *c, const char *status, const char *text);
/* We have no use for the peer as it is (no TLS, no AUTH, refused): the same, with a QUIT. */
void smtp_client_give_up(struct smtp_client *c, const char *status, const char *text);
void smtp_client_give_up_on_reply(struct smtp_client *c, const struct smtp_reply *reply);

/* ---- client_hello.c: replies in GREETING, EHLO, HELO, STARTTLS ---- */

void smtp_client_say_hello(struct smtp_client *c, int64_t now);
void smtp_client_on_greeting(struct smtp_client *c, const struct smtp_reply *reply, int64_t now);
void smtp_client_on_ehlo(struct smtp_client *c, const struct smtp_reply *reply, int64_t now);
void smtp_client_on_helo(struct smtp_client *c, const struct smtp_reply *reply, int64_t now);
void smtp_client_on_starttls(struct smtp_client *c, const struct smtp_reply *reply, int64_t now);

/* ---- client_auth.c ---- */

bool smtp_client_on_auth(struct smtp_client *c, const struct smtp_reply *reply, int64_t now,
                         struct smtp_client_event *event);

/* ---- client_transaction.c: these return true when *event is to be given out ---- */

bool smtp_client_on_envelope(struct smtp_client *c, const struct smtp_reply *reply, int64_t now,
                             struct smtp_client_event *event);
void smtp_client_on_body(struct smtp_client *c, const struct smtp_reply *reply);
void smtp_client_on_dot(struct smtp_client *c, const struct smtp_reply *reply);
/* Sends as many commands of the envelope as may be in flight, and goes on behind its end. */
void smtp_client_pump(struct smtp_client *c, int64_t now);
/* The final round: one RECIPIENT for each that is undecided, then FINISHED. */
void smtp_client_tell(struct smtp_client *c, int64_t now, struct smtp_client_event *event);

#endif
