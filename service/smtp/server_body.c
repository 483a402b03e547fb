/* DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030): content, its limits, and its end. */
#include "smtp/server_internal.h"

#include <stdio.h>

enum {
    DISCARD_EXTRA = 16 << 20, /* so much over the size limit is read only to be thrown away */
};

static uint64_t discard_max(const struct smtp_server *s)
{
    uint64_t max = s->options->message_size_max;
    return max == 0 || max > UINT64_MAX - DISCARD_EXTRA ? UINT64_MAX : max + DISCARD_EXTRA;
}

static void begin_octets(struct smtp_server *s)
{
    s->since = s->last_byte = s->now;
    s->body_octets = 0;
}

static void begin_body(struct smtp_server *s, enum smtp_data_kind kind)
{
    smtp_data_decoder_init(&s->decoder, kind, s->options->bare_lf);
    s->body_size = 0;
    s->discarded = 0;
    s->refusal = SMTP_REFUSAL_NONE;
    s->body_stopped = false;
    s->earlier_size = s->session_size;
    begin_octets(s);
}

enum server_step server_enter_data(struct smtp_server *s, struct smtp_server_event *event)
{
    event->chunking = s->chunking = false;
    s->chunk_last = true;
    return server_open(s, event, SMTP_SERVER_BODY_START);
}

/* Reads n octets for nothing; the reply has been said. */
static void discard_chunk(struct smtp_server *s, uint64_t n)
{
    if (n > discard_max(s)) {
        server_say(s, 421, "4.5.0",
                   "Too many octets to read for nothing, closing transmission "
                   "channel");
        server_close(s, SMTP_CLOSE_LIMIT);
        return;
    }
    s->chunk_left = n;
    s->mode = SMTP_MODE_DISCARD;
    begin_octets(s);
}

/* A BDAT failed: with LAST the transaction is over as far as the client knows; without, more chunks
 * may be under way, and only RSET or a new hello ends it (RFC 3030 2). */
static void fail_transaction(struct smtp_server *s, bool last, bool tell)
{
    if (last && smtp_server_in_transaction(s))
        server_end_transaction(s, tell);
    else if (smtp_server_in_transaction(s))
        s->state = SMTP_STATE_FAILED;
}

static enum server_step body_end(struct smtp_server *s, struct smtp_server_event *event)
{
    event->type = SMTP_SERVER_BODY_END;
    event->body_end.size = s->body_size;
    event->body_end.refusal = s->refusal;
    event->body_end.bare_lf = s->decoder.bare_lf;
    event->body_end.bare_cr = s->decoder.bare_cr;
    return STEP_EVENT;
}

static void say_refusal(struct smtp_server *s)
{
    switch (s->refusal) {
    case SMTP_REFUSAL_NONE: break;
    case SMTP_REFUSAL_BARE_LF:
        server_say(s, 550, "5.6.0",
                   s->decoder.bare_lf && s->options->bare_lf == SMTP_BARE_LF_REJECT
                       ? "Message refused: a line ends with a bare LF and not with CRLF (the "
                         "listener's option bare_lf is reject)"
                       : "Message refused: it holds a bare CR, which is no line end");
        break;
    case SMTP_REFUSAL_SIZE:
        server_say(s, 552, "5.3.4", "Message size exceeds fixed maximum message size");
        break;
    case SMTP_REFUSAL_SESSION:
        if (s->earlier_size == 0) {
            server_say(s, 552, "5.3.4", "Session size exceeds fixed maximum session size");
            break;
        }
        server_say(s, 421, "4.5.3",
                   "Session size limit reached, send the message on a new "
                   "connection");
        server_close(s, SMTP_CLOSE_LIMIT);
        break;
    }
}

/* BDAT for which the octets can be counted, but which is not taken. */
static enum server_step refuse_bdat(struct smtp_server *s, uint64_t size, bool last,
                                    const struct smtp_reply *refusal)
{
    bool failed = s->state == SMTP_STATE_FAILED;
    server_error_reply(s, refusal);
    if (s->mode == SMTP_MODE_CLOSED)
        return STEP_AGAIN;
    if (failed)
        fail_transaction(s, last, true);
    discard_chunk(s, size);
    return STEP_AGAIN;
}

static enum server_step oversize_bdat(struct smtp_server *s, uint64_t size, bool last,
                                      struct smtp_server_event *event)
{
    bool begun = s->state == SMTP_STATE_CHUNK;
    server_say(s, 552, "5.3.4", "Message size exceeds fixed maximum message size");
    s->refusal = SMTP_REFUSAL_SIZE;
    fail_transaction(s, last, !begun);
    discard_chunk(s, size);
    return begun ? body_end(s, event) : STEP_AGAIN;
}

enum server_step server_enter_bdat(struct smtp_server *s, struct span args,
                                   const struct smtp_reply *refusal,
                                   struct smtp_server_event *event)
{
    uint64_t size = 0, max = s->options->message_size_max;
    bool last = false;
    if (!smtp_bdat_parse(args, &size, &last)) {
        server_say(s, 501, "5.5.4",
                   "Invalid argument; the form is BDAT size [LAST]. Closing transmission channel");
        server_close(s, SMTP_CLOSE_PROTOCOL);
        return STEP_AGAIN;
    }
    if (refusal != NULL)
        return refuse_bdat(s, size, last, refusal);
    uint64_t so_far = s->state == SMTP_STATE_CHUNK ? s->body_size : 0;
    if (max > 0 && size > max - so_far)
        return oversize_bdat(s, size, last, event);
    s->chunk_left = s->chunk_size = size;
    s->chunk_last = last;
    if (s->state == SMTP_STATE_CHUNK) {
        s->mode = SMTP_MODE_CHUNK;
        begin_octets(s);
        return STEP_AGAIN;
    }
    event->chunking = s->chunking = true;
    return server_open(s, event, SMTP_SERVER_BODY_START);
}

void server_answer_body_start(struct smtp_server *s, const struct smtp_reply *reply)
{
    bool chunking = s->chunking;
    bool taken = reply == NULL || reply->code == 354 || reply->code / 100 == 2;
    if (!taken) {
        server_say_reply(s, reply);
        if (chunking) {
            fail_transaction(s, s->chunk_last, true);
            discard_chunk(s, s->chunk_left);
        }
        return;
    }
    begin_body(s, chunking ? SMTP_DATA_CHUNKS : SMTP_DATA_DOTS);
    if (chunking) {
        s->mode = SMTP_MODE_CHUNK;
        s->state = SMTP_STATE_CHUNK;
        return;
    }
    s->mode = SMTP_MODE_DATA;
    if (reply != NULL && reply->code == 354)
        server_say_reply(s, reply);
    else
        server_say(s, 354, NULL, "Start mail input; end with <CRLF>.<CRLF>");
}

/* Cuts what the decoder gave to what the limits leave; refuses the message at the first octet past
 * them. What is left is the same however the input was cut. */
static struct span within_limits(struct smtp_server *s, struct span out)
{
    uint64_t message = s->options->message_size_max, session = s->options->session_size_max;
    if (s->refusal != SMTP_REFUSAL_NONE || s->body_stopped)
        return span_of(NULL, 0);
    if (message > 0 && out.n > message - s->body_size) {
        out.n = (size_t)(message - s->body_size);
        s->refusal = SMTP_REFUSAL_SIZE;
    }
    if (session > 0 && (s->session_size >= session || out.n > session - s->session_size)) {
        size_t room = s->session_size >= session ? 0 : (size_t)(session - s->session_size);
        s->refusal = out.n > room ? SMTP_REFUSAL_SESSION : s->refusal;
        out.n = out.n > room ? room : out.n;
    }
    s->body_size += out.n;
    s->session_size += out.n;
    return out;
}

/* One piece of content out of `in`, consumed from the input. */
static struct smtp_data_piece take_piece(struct smtp_server *s, struct span in)
{
    struct smtp_data_piece piece = smtp_data_decode(&s->decoder, in);
    server_consume(s, piece.used);
    s->body_octets += piece.used;
    if (s->refusal != SMTP_REFUSAL_NONE || s->body_stopped)
        s->discarded += piece.used;
    piece.out = within_limits(s, piece.out);
    if (s->decoder.refused && s->refusal == SMTP_REFUSAL_NONE && !s->body_stopped)
        s->refusal = SMTP_REFUSAL_BARE_LF;
    return piece;
}

static enum server_step give_piece(struct smtp_server *s, struct span out,
                                   struct smtp_server_event *event)
{
    if (out.n > 0) {
        event->type = SMTP_SERVER_BODY;
        event->body = out;
        return STEP_EVENT;
    }
    if (s->discarded <= discard_max(s))
        return STEP_AGAIN;
    if (s->refusal != SMTP_REFUSAL_NONE)
        say_refusal(s);
    else
        server_say(s, 421, "4.3.0", "Closing transmission channel");
    server_close(s, SMTP_CLOSE_LIMIT);
    return STEP_AGAIN;
}

/* All content of the message has come; ok and LAST is the only case in which it may be accepted. */
static enum server_step finish_body(struct smtp_server *s, bool last,
                                    struct smtp_server_event *event)
{
    s->mode = SMTP_MODE_COMMAND;
    s->after_bare_lf = false;
    s->since = s->now;
    (void)body_end(s, event);
    if (s->refusal == SMTP_REFUSAL_NONE)
        return server_open(s, event, SMTP_SERVER_BODY_END);
    fail_transaction(s, last, false);
    say_refusal(s);
    return STEP_EVENT;
}

enum server_step server_data_step(struct smtp_server *s, struct smtp_server_event *event)
{
    struct span in = server_input(s);
    if (in.n == 0)
        return STEP_WAIT;
    struct smtp_data_piece piece = take_piece(s, in);
    return piece.end ? finish_body(s, true, event) : give_piece(s, piece.out, event);
}

enum server_step server_chunk_step(struct smtp_server *s, struct smtp_server_event *event)
{
    struct span in = server_input(s);
    if (s->chunk_left > 0) {
        if (in.n == 0)
            return STEP_WAIT;
        if (in.n > s->chunk_left)
            in.n = (size_t)s->chunk_left;
        struct smtp_data_piece piece = take_piece(s, in);
        s->chunk_left -= piece.used;
        return give_piece(s, piece.out, event);
    }
    if (s->chunk_last) {
        smtp_data_decode_end(&s->decoder);
        if (s->decoder.refused && s->refusal == SMTP_REFUSAL_NONE && !s->body_stopped)
            s->refusal = SMTP_REFUSAL_BARE_LF;
    }
    if (s->chunk_last || s->refusal != SMTP_REFUSAL_NONE || s->body_stopped)
        return finish_body(s, s->chunk_last, event);
    char text[64];
    (void)snprintf(text, sizeof text, "%llu octets received", (unsigned long long)s->chunk_size);
    s->mode = SMTP_MODE_COMMAND;
    s->after_bare_lf = false;
    s->since = s->now;
    server_say(s, 250, "2.0.0", text);
    return STEP_AGAIN;
}

enum server_step server_discard_step(struct smtp_server *s)
{
    struct span in = server_input(s);
    if (s->chunk_left == 0) {
        s->mode = SMTP_MODE_COMMAND;
        s->after_bare_lf = false;
        s->since = s->now;
        return STEP_AGAIN;
    }
    if (in.n == 0)
        return STEP_WAIT;
    size_t n = in.n < s->chunk_left ? in.n : (size_t)s->chunk_left;
    server_consume(s, n);
    s->chunk_left -= n;
    s->body_octets += n;
    return STEP_AGAIN;
}

void server_answer_body_end(struct smtp_server *s, const struct smtp_reply *reply)
{
    /* Content that was stopped is incomplete: whatever the session means, it is not accepted. */
    struct smtp_reply stopped = smtp_reply_make(451, "4.3.0", "The message was not taken in full");
    if (s->body_stopped && (reply == NULL || reply->code / 100 == 2))
        reply = &stopped;
    if (s->chunk_last)
        server_end_transaction(s, false);
    else
        s->state = SMTP_STATE_FAILED;
    if (reply == NULL || reply->code / 100 == 2) {
        s->messages++;
        s->errors = s->junk = s->blanks = 0;
    }
    if (reply == NULL)
        server_say(s, 250, "2.6.0", "Queued mail for delivery");
    else
        server_say_reply(s, reply);
}

void smtp_server_stop_body(struct smtp_server *s)
{
    if (s->mode == SMTP_MODE_DATA || s->mode == SMTP_MODE_CHUNK)
        s->body_stopped = true;
}
