#include "smtp/server_engine.h"

#include "base/base64.h"
#include "base/secret.h"
#include "smtp/server_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    OUT_MAX = 65536,
    OUT_HIGH = 16384,   /* a client that does not read is not served further */
    SKIP_MAX = 1 << 20, /* octets of one overlong line */
    BLANKS_MAX = 10,    /* .NET sends two blank lines for one empty AUTH response */
};

static const char emergency_text[] = "421 4.3.0 Insufficient memory, try again later\r\n";

void smtp_server_options_default(struct smtp_server_options *options)
{
    *options = (struct smtp_server_options){
        .hostname = "localhost",
        .banner = "Postern ESMTP service ready",
        .message_size_max = 25u << 20,
        .session_size_max = 100u << 20,
        .recipients_max = 100,
        .errors_max = 20,
        .junk_max = 200,
        .command_line_max = 4096,
        .bare_lf = SMTP_BARE_LF_REJECT,
        .smtputf8 = true,
        .chunking = true,
        .dsn = true,
        .auth = "",
        .auth_tls = "",
        .greeting_timeout_ms = 300000,
        .command_timeout_ms = 600000,
        .data_timeout_ms = 180000,
        .data_grace_ms = 30000,
        .data_rate_min = 500,
    };
}

void smtp_server_init(struct smtp_server *s, const struct smtp_server_options *options,
                      const char *client, bool tls, int64_t now)
{
    *s = (struct smtp_server){
        .options = options,
        .tls = tls,
        .now = now,
        .since = now,
        .born = now,
        .paused_at = -1,
    };
    buf_init(&s->held, SMTP_SERVER_INPUT_MAX);
    buf_init(&s->out, OUT_MAX);
    buf_init(&s->decoded, SMTP_SERVER_AUTH_TICKET_LINE_MAX);
    (void)span_cstr(span_sub(span_str(client), 0, sizeof s->client - 1), s->client,
                    sizeof s->client);
}

static void release_held(struct smtp_server *s)
{
    if (s->held.p != NULL)
        secret_wipe_bytes(s->held.p, s->held.cap);
    buf_release(&s->held);
}

void smtp_server_deinit(struct smtp_server *s)
{
    if (s == NULL)
        return;
    release_held(s);
    server_wipe_decoded(s);
    buf_deinit(&s->out);
    s->mode = SMTP_MODE_CLOSED;
}

/* ---- input ---- */

struct span server_input(const struct smtp_server *s)
{
    return s->held.n > 0 ? buf_span(&s->held) : s->borrowed;
}

/* Frees nothing: the bytes may be in an event's span. */
void server_consume(struct smtp_server *s, size_t n)
{
    if (s->held.n > 0)
        buf_consume(&s->held, n);
    else
        s->borrowed = span_from(s->borrowed, n);
    s->scanned = 0;
}

void server_drop_input(struct smtp_server *s)
{
    s->borrowed = span_of(NULL, 0);
    release_held(s);
    s->scanned = 0;
    s->skipping = false;
    s->after_bare_lf = false;
}

static void no_memory(struct smtp_server *s)
{
    server_say(s, 421, "4.3.0", "Insufficient memory, try again later");
    server_close(s, SMTP_CLOSE_MEMORY);
}

static bool hold(struct smtp_server *s, struct span bytes)
{
    if (buf_add(&s->held, bytes))
        return true;
    no_memory(s);
    return false;
}

void smtp_server_keep(struct smtp_server *s)
{
    if (s->borrowed.n > 0) {
        struct span rest = s->borrowed;
        s->borrowed = span_of(NULL, 0);
        (void)hold(s, rest);
    } else if (s->held.n == 0 && s->held.p != NULL) {
        release_held(s);
    }
}

void smtp_server_feed(struct smtp_server *s, struct span bytes, int64_t now)
{
    s->now = now;
    s->last_byte = now;
    if (s->mode == SMTP_MODE_CLOSED || s->mode == SMTP_MODE_TLS || bytes.n == 0)
        return;
    smtp_server_keep(s);
    if (s->mode == SMTP_MODE_CLOSED)
        return;
    if (s->held.n > 0)
        (void)hold(s, bytes);
    else
        s->borrowed = bytes;
}

bool smtp_server_wants_input(const struct smtp_server *s)
{
    return s->mode != SMTP_MODE_CLOSED && s->mode != SMTP_MODE_TLS && s->started &&
           s->open == SMTP_SERVER_NONE && s->out.n <= OUT_HIGH;
}

static size_t line_limit(const struct smtp_server *s, struct span in)
{
    bool answer = s->mode == SMTP_MODE_AUTH;
    bool auth = answer || span_starts_nocase(in, "AUTH ");
    bool ticket = auth && server_auth_takes_ticket(s, answer ? span_str(s->mechanism)
                                                             : span_from(in, sizeof "AUTH"));
    size_t limit = s->options->command_line_max < 512 ? 512 : s->options->command_line_max;
    size_t least = ticket ? SMTP_SERVER_AUTH_TICKET_LINE_MAX : auth ? SMTP_SERVER_AUTH_LINE_MAX : 0;
    return limit < least ? least : limit;
}

static bool rejects_bare_lf(const struct smtp_server *s)
{
    return s->options->bare_lf == SMTP_BARE_LF_REJECT;
}

/* Reads on to the end of an overlong line. */
static enum server_line skip_line(struct smtp_server *s)
{
    struct span in = server_input(s);
    size_t at = span_find(in, '\n');
    bool complete = at < in.n;
    bool cr = at > 0 ? in.p[at - 1] == '\r' : s->skip_cr;
    size_t n = complete ? at + 1 : at;
    s->skip_cr = cr;
    s->skipped += n;
    server_consume(s, n);
    if (s->skipped > SKIP_MAX) {
        server_say(s, 421, "4.7.0", "Line too long");
        server_close(s, SMTP_CLOSE_LIMIT);
        return LINE_NONE;
    }
    if (!complete)
        return LINE_NONE;
    s->skipping = false;
    s->line_n = 0;
    s->line_bare = !cr && rejects_bare_lf(s);
    return LINE_LONG;
}

/* The line at the front of the input, without its end; not yet consumed but for a long one. A
 * segment is a command only where it both begins after CRLF and ends with CRLF: what others take
 * for the inside of one line never is one here. */
static enum server_line peek_line(struct smtp_server *s, struct span *line)
{
    struct span in = server_input(s);
    *line = span_of(NULL, 0);
    if (s->skipping)
        return skip_line(s);
    size_t limit = line_limit(s, in);
    size_t window = in.n < limit ? in.n : limit;
    const uint8_t *lf =
        s->scanned < window ? memchr(in.p + s->scanned, '\n', window - s->scanned) : NULL;
    if (lf == NULL && in.n < limit) {
        s->scanned = in.n;
        return LINE_NONE;
    }
    if (lf == NULL) {
        s->skipping = true;
        s->skip_bdat = s->mode == SMTP_MODE_COMMAND && span_starts_nocase(in, "BDAT");
        s->skip_cr = false;
        s->skipped = 0;
        return skip_line(s);
    }
    size_t end = (size_t)(lf - in.p);
    bool crlf = end > 0 && in.p[end - 1] == '\r';
    *line = span_sub(in, 0, crlf ? end - 1 : end);
    s->line_n = end + 1;
    s->line_bare = !crlf && rejects_bare_lf(s);
    if (rejects_bare_lf(s) && (!crlf || s->after_bare_lf))
        return LINE_BARE_LF;
    if (span_find(*line, '\r') < line->n || span_find(*line, 0) < line->n)
        return LINE_CONTROL;
    return LINE_OK;
}

/* ---- output ---- */

void server_say_reply(struct smtp_server *s, const struct smtp_reply *reply)
{
    size_t before = s->out.n;
    if (s->emergency)
        return;
    if (smtp_reply_write(reply, &s->out)) {
        server_trace_reply(s, reply->code, s->out.n - before);
        return;
    }
    s->out.n = before; /* no half line goes out */
    s->out.failed = false;
    s->emergency = true;
    server_close(s, SMTP_CLOSE_MEMORY);
}

void server_say(struct smtp_server *s, uint16_t code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = smtp_reply_make(code, enhanced, text);
    server_say_reply(s, &reply);
}

void server_error_reply(struct smtp_server *s, const struct smtp_reply *reply)
{
    server_say_reply(s, reply);
    s->errors++;
    if (s->options->errors_max == 0 || s->errors < s->options->errors_max)
        return;
    server_say(s, 421, "4.7.0", "Too many errors on this connection, closing transmission channel");
    server_close(s, SMTP_CLOSE_ERRORS);
}

void server_error(struct smtp_server *s, uint16_t code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = smtp_reply_make(code, enhanced, text);
    server_error_reply(s, &reply);
}

void server_junk(struct smtp_server *s)
{
    s->junk++;
    if (s->options->junk_max == 0 || s->junk < s->options->junk_max)
        return;
    server_say(s, 421, "4.7.0",
               "Too many commands without a message, closing transmission channel");
    server_close(s, SMTP_CLOSE_ERRORS);
}

struct span smtp_server_output(const struct smtp_server *s)
{
    if (s->out.n > 0 || !s->emergency)
        return buf_span(&s->out);
    return span_from(span_str(emergency_text), s->sent_emergency);
}

void smtp_server_sent(struct smtp_server *s, size_t n)
{
    size_t own = n < s->out.n ? n : s->out.n;
    buf_consume(&s->out, own);
    if (s->emergency && n > own)
        s->sent_emergency += n - own;
    if (s->out.n == 0 && s->out.cap > 1024)
        buf_release(&s->out);
}

/* ---- events ---- */

void server_end_transaction(struct smtp_server *s, bool tell)
{
    s->state = SMTP_STATE_READY;
    s->recipients = 0;
    s->smtputf8 = false;
    s->reset_due = s->reset_due || tell;
}

void server_close(struct smtp_server *s, enum smtp_server_close_reason reason)
{
    if (s->mode == SMTP_MODE_CLOSED)
        return;
    if (smtp_server_in_transaction(s))
        server_end_transaction(s, true);
    s->mode = SMTP_MODE_CLOSED;
    s->close_reason = reason;
    s->close_due = true;
    s->open = SMTP_SERVER_NONE;
    s->token = 0;
    s->borrowed = span_of(NULL, 0); /* what is held is freed by keep: an event may point into it */
    s->held.n = 0;
}

enum server_step server_open(struct smtp_server *s, struct smtp_server_event *event,
                             enum smtp_server_event_type type)
{
    if (++s->last_token == 0)
        s->last_token = 1;
    s->token = s->last_token;
    s->open = type;
    event->type = type;
    event->token = s->token;
    return STEP_EVENT;
}

/* A line that is no command, whatever it says. */
static void refuse_line(struct smtp_server *s, enum server_line kind, struct span line)
{
    bool bdat = s->skip_bdat || span_starts_nocase(line, "BDAT");
    s->skip_bdat = false;
    if (kind == LINE_LONG)
        server_error(s, 500, "5.5.2", "Line too long");
    else if (kind == LINE_BARE_LF)
        server_error(s, 500, "5.5.2",
                     "A line ends with a bare LF and not with CRLF (option bare_lf: reject); not "
                     "executed");
    else
        server_error(s, 500, "5.5.2", "CR or NUL inside a command line; not executed");
    if (bdat) { /* its octets cannot be told from commands */
        server_say(s, 421, "4.5.0", "Closing transmission channel");
        server_close(s, SMTP_CLOSE_PROTOCOL);
    }
}

static enum server_step line_step(struct smtp_server *s, struct smtp_server_event *event)
{
    struct span line;
    enum server_line kind = peek_line(s, &line);
    if (kind == LINE_NONE)
        return s->mode == SMTP_MODE_CLOSED ? STEP_AGAIN : STEP_WAIT;
    bool ends_transaction = false;
    struct span args;
    if (kind == LINE_OK && s->mode == SMTP_MODE_COMMAND && smtp_server_in_transaction(s)) {
        enum smtp_verb verb = smtp_verb_find(span_trim(line), &args);
        ends_transaction = verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO;
    }
    if (ends_transaction) { /* tell that first; the line is still there and comes again */
        server_end_transaction(s, true);
        return STEP_AGAIN;
    }
    server_consume(s, s->line_n);
    s->after_bare_lf = s->line_bare;
    s->since = s->now;
    if (s->mode == SMTP_MODE_AUTH)
        return server_auth_line(s, kind, line, event);
    if (kind != LINE_OK) {
        refuse_line(s, kind, line);
        return STEP_AGAIN;
    }
    line = span_trim(line);
    if (line.n > 0) {
        server_trace_command(s, line);
        return server_command(s, line, event);
    }
    if (s->blanks++ >= BLANKS_MAX)
        server_error(s, 500, "5.5.2", "Blank line");
    return STEP_AGAIN;
}

static enum server_step step(struct smtp_server *s, struct smtp_server_event *event)
{
    if (s->open != SMTP_SERVER_NONE || s->out.n > OUT_HIGH)
        return STEP_WAIT;
    switch (s->mode) {
    case SMTP_MODE_CONNECT: s->started = true; return server_open(s, event, SMTP_SERVER_CONNECT);
    case SMTP_MODE_COMMAND:
    case SMTP_MODE_AUTH: return line_step(s, event);
    case SMTP_MODE_DATA: return server_data_step(s, event);
    case SMTP_MODE_CHUNK: return server_chunk_step(s, event);
    case SMTP_MODE_DISCARD: return server_discard_step(s);
    case SMTP_MODE_TLS:
    case SMTP_MODE_CLOSED: break;
    }
    return STEP_WAIT;
}

enum smtp_server_event_type smtp_server_next_event(struct smtp_server *s,
                                                   struct smtp_server_event *event)
{
    server_wipe_decoded(s);
    for (;;) {
        *event = (struct smtp_server_event){.type = SMTP_SERVER_NONE};
        if (s->reset_due) {
            s->reset_due = false;
            event->type = SMTP_SERVER_RESET;
            return event->type;
        }
        if (s->close_due) {
            s->close_due = false;
            event->type = SMTP_SERVER_CLOSE;
            event->close = s->close_reason;
            return event->type;
        }
        enum server_step done = step(s, event);
        if (done == STEP_EVENT)
            return event->type;
        if (done == STEP_WAIT && !s->reset_due && !s->close_due) {
            smtp_server_keep(s);
            if (!s->close_due) /* keep may have run out of memory */
                return SMTP_SERVER_NONE;
        }
    }
}

/* ---- answers ---- */

static bool spoke_early(const struct smtp_server *s)
{
    struct span in = server_input(s);
    for (size_t i = 0; i < in.n; i++)
        if (in.p[i] != '\r' && in.p[i] != '\n')
            return true;
    return false;
}

static void answer_connect(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply != NULL && reply->code != 220) {
        server_say_reply(s, reply);
        server_close(s, SMTP_CLOSE_REFUSED);
        return;
    }
    if (spoke_early(s)) {
        server_say(s, 554, "5.5.0", "Client spoke before the greeting");
        server_close(s, SMTP_CLOSE_EARLY);
        return;
    }
    server_drop_input(s);
    s->mode = SMTP_MODE_COMMAND;
    if (reply != NULL) {
        server_say_reply(s, reply);
        return;
    }
    char text[512];
    (void)snprintf(text, sizeof text, "%s %s", s->options->hostname, s->options->banner);
    server_say(s, 220, NULL, text);
}

static void answer_starttls(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply != NULL && reply->code != 220) {
        server_say_reply(s, reply);
        return;
    }
    /* CVE-2011-0411: what was sent behind STARTTLS in clear is never looked at. */
    server_drop_input(s);
    if (smtp_server_in_transaction(s))
        server_end_transaction(s, true);
    s->mode = SMTP_MODE_TLS;
    if (reply != NULL)
        server_say_reply(s, reply);
    else
        server_say(s, 220, "2.0.0", "Ready to start TLS");
}

static void dispatch_answer(struct smtp_server *s, enum smtp_server_event_type type,
                            const struct smtp_reply *reply)
{
    switch (type) {
    case SMTP_SERVER_CONNECT: answer_connect(s, reply); break;
    case SMTP_SERVER_HELLO: server_answer_hello(s, reply); break;
    case SMTP_SERVER_STARTTLS: answer_starttls(s, reply); break;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE: server_answer_auth(s, reply); break;
    case SMTP_SERVER_MAIL: server_answer_mail(s, reply); break;
    case SMTP_SERVER_RCPT: server_answer_rcpt(s, reply); break;
    case SMTP_SERVER_BODY_START: server_answer_body_start(s, reply); break;
    case SMTP_SERVER_BODY_END: server_answer_body_end(s, reply); break;
    case SMTP_SERVER_NONE:
    case SMTP_SERVER_AUTH_CANCEL:
    case SMTP_SERVER_BODY:
    case SMTP_SERVER_RESET:
    case SMTP_SERVER_CLOSE: break;
    }
}

static enum smtp_server_event_type settle(struct smtp_server *s, uint32_t token, int64_t now)
{
    if (token == 0 || token != s->token)
        return SMTP_SERVER_NONE;
    enum smtp_server_event_type type = s->open;
    s->open = SMTP_SERVER_NONE;
    s->token = 0;
    s->now = s->since = s->last_byte = now;
    return type;
}

bool smtp_server_answer(struct smtp_server *s, uint32_t token, const struct smtp_reply *reply,
                        int64_t now)
{
    enum smtp_server_event_type type = settle(s, token, now);
    if (type == SMTP_SERVER_NONE)
        return false;
    if (reply != NULL && reply->code == 421 && type != SMTP_SERVER_CONNECT) {
        server_say_reply(s, reply);
        server_close(s, SMTP_CLOSE_SESSION);
    } else {
        dispatch_answer(s, type, reply);
    }
    return true;
}

bool smtp_server_challenge(struct smtp_server *s, uint32_t token, struct span bytes, int64_t now)
{
    if (s->open != SMTP_SERVER_AUTH && s->open != SMTP_SERVER_AUTH_RESPONSE)
        return false;
    if (settle(s, token, now) == SMTP_SERVER_NONE)
        return false;
    struct buf text;
    buf_init(&text, SMTP_SERVER_AUTH_LINE_MAX * 2);
    size_t before = s->out.n;
    s->mode = SMTP_MODE_AUTH;
    if (!base64_encode(bytes, &text) || !buf_add_str(&s->out, "334 ") ||
        !buf_add(&s->out, buf_span(&text)) || !buf_add_str(&s->out, "\r\n")) {
        s->out.n = before;
        s->out.failed = false;
        s->emergency = true;
        server_close(s, SMTP_CLOSE_MEMORY);
    }
    buf_deinit(&text);
    return true;
}

void smtp_server_tls_started(struct smtp_server *s, int64_t now)
{
    if (s->mode != SMTP_MODE_TLS)
        return;
    s->now = s->since = now;
    s->tls = true;
    s->mode = SMTP_MODE_COMMAND;
    s->state = SMTP_STATE_HELLO;
    s->extended = false;
    s->authenticated = false;
}

void smtp_server_shutdown(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (s->mode == SMTP_MODE_CLOSED)
        return;
    if (s->mode != SMTP_MODE_TLS)
        server_say_reply(s, reply);
    server_close(s, SMTP_CLOSE_SESSION);
}

bool smtp_server_set_options(struct smtp_server *s, const struct smtp_server_options *options)
{
    if (s->open != SMTP_SERVER_NONE || smtp_server_in_transaction(s) || s->mode == SMTP_MODE_AUTH ||
        s->mode == SMTP_MODE_DISCARD)
        return false;
    s->options = options;
    return true;
}

/* ---- views ---- */

bool smtp_server_in_transaction(const struct smtp_server *s)
{
    return s->state > SMTP_STATE_READY;
}

bool smtp_server_is_authenticated(const struct smtp_server *s)
{
    return s->authenticated;
}

bool smtp_server_is_tls(const struct smtp_server *s)
{
    return s->tls;
}
