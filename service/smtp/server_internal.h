/* server_internal.h - what the files of the server engine share: server_engine.c (input, output,
 * events, clocks), server_verbs.c (commands), server_auth.c, server_body.c (DATA and BDAT).
 * Nobody else includes it. */
#ifndef POSTERN_SMTP_SERVER_INTERNAL_H
#define POSTERN_SMTP_SERVER_INTERNAL_H

#include "smtp/server_engine.h"

enum server_step {
    STEP_EVENT, /* *event is filled */
    STEP_AGAIN, /* something was done, look at the input again */
    STEP_WAIT,  /* nothing to be done with the input there is */
};

enum server_line {
    LINE_NONE, /* not yet complete */
    LINE_OK,
    LINE_BARE_LF, /* ends with, or begins after, a bare LF and the policy is REJECT */
    LINE_CONTROL, /* CR or NUL inside */
    LINE_LONG,
};

/* server_engine.c */
struct span server_input(const struct smtp_server *s);
void server_consume(struct smtp_server *s, size_t n);
void server_drop_input(struct smtp_server *s);
void server_say(struct smtp_server *s, uint16_t code, const char *enhanced, const char *text);
void server_say_reply(struct smtp_server *s, const struct smtp_reply *reply);
/* A refusal that counts as a bad command: the last one allowed is followed by 421. */
void server_error(struct smtp_server *s, uint16_t code, const char *enhanced, const char *text);
void server_error_reply(struct smtp_server *s, const struct smtp_reply *reply);
/* server_trace.c; nothing where nobody wants it */
void server_trace_command(struct smtp_server *s, struct span line);
void server_trace_reply(struct smtp_server *s, unsigned code, size_t bytes);
void server_junk(struct smtp_server *s);
void server_close(struct smtp_server *s, enum smtp_server_close_reason reason);
/* Fills *event as one that wants an answer. */
enum server_step server_open(struct smtp_server *s, struct smtp_server_event *event,
                             enum smtp_server_event_type type);
/* Back to READY; RESET follows where `tell`. */
void server_end_transaction(struct smtp_server *s, bool tell);

/* server_verbs.c */
enum server_step server_command(struct smtp_server *s, struct span line,
                                struct smtp_server_event *event);
void server_answer_hello(struct smtp_server *s, const struct smtp_reply *reply);
void server_answer_mail(struct smtp_server *s, const struct smtp_reply *reply);
void server_answer_rcpt(struct smtp_server *s, const struct smtp_reply *reply);

/* server_auth.c */
enum server_step server_enter_auth(struct smtp_server *s, struct span args,
                                   struct smtp_server_event *event);
/* Whether text begins with a mechanism on offer whose tokens are tickets. */
bool server_auth_takes_ticket(const struct smtp_server *s, struct span text);
enum server_step server_auth_line(struct smtp_server *s, enum server_line kind, struct span line,
                                  struct smtp_server_event *event);
void server_answer_auth(struct smtp_server *s, const struct smtp_reply *reply);
void server_wipe_decoded(struct smtp_server *s);

/* server_body.c */
enum server_step server_enter_data(struct smtp_server *s, struct smtp_server_event *event);
/* refusal NULL: BDAT is allowed here; else it is sent and the octets are consumed. */
enum server_step server_enter_bdat(struct smtp_server *s, struct span args,
                                   const struct smtp_reply *refusal,
                                   struct smtp_server_event *event);
enum server_step server_data_step(struct smtp_server *s, struct smtp_server_event *event);
enum server_step server_chunk_step(struct smtp_server *s, struct smtp_server_event *event);
enum server_step server_discard_step(struct smtp_server *s);
void server_answer_body_start(struct smtp_server *s, const struct smtp_reply *reply);
void server_answer_body_end(struct smtp_server *s, const struct smtp_reply *reply);

#endif
