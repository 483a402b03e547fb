#include "smtp/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OUTPUT_DEFAULT = 64 * 1024,
    COMMAND_ROOM = 16 * 1024, /* on top of output_max: the longest command line, AUTH's included */
    INPUT_MAX = 1024 * 1024,  /* what may be fed between two pulls */
    CHALLENGE_MAX = 16 * 1024,
};

/* Who is awaited in a state, for the deadline and for the words when it passes. */
static const struct {
    const char *awaited; /* NULL: nothing from the peer */
    size_t timeout_at;   /* offset in struct smtp_client_timeouts */
} states[SMTP_CLIENT_STATE_COUNT] = {
    [SMTP_CLIENT_IN_GREETING] = {"a greeting", offsetof(struct smtp_client_timeouts, greeting_ms)},
    [SMTP_CLIENT_IN_EHLO] = {"the reply to EHLO", offsetof(struct smtp_client_timeouts, hello_ms)},
    [SMTP_CLIENT_IN_HELO] = {"the reply to HELO", offsetof(struct smtp_client_timeouts, hello_ms)},
    [SMTP_CLIENT_IN_STARTTLS] = {"the reply to STARTTLS",
                                 offsetof(struct smtp_client_timeouts, starttls_ms)},
    [SMTP_CLIENT_IN_AUTH] = {"the reply to AUTH", offsetof(struct smtp_client_timeouts, auth_ms)},
    [SMTP_CLIENT_IN_ENVELOPE] = {"the reply to MAIL",
                                 offsetof(struct smtp_client_timeouts, mail_ms)},
    [SMTP_CLIENT_IN_BODY] = {"progress of the message",
                             offsetof(struct smtp_client_timeouts, body_ms)},
    [SMTP_CLIENT_IN_DOT] = {"the reply to the end of the message",
                            offsetof(struct smtp_client_timeouts, end_ms)},
    [SMTP_CLIENT_IN_LONE_DOT] = {"the reply to the end of an empty message",
                                 offsetof(struct smtp_client_timeouts, end_ms)},
    [SMTP_CLIENT_IN_RSET] = {"the reply to RSET", offsetof(struct smtp_client_timeouts, rset_ms)},
    [SMTP_CLIENT_IN_QUIT] = {"the reply to QUIT", offsetof(struct smtp_client_timeouts, quit_ms)},
};

/* RFC 5321 4.5.3.2, and for QUIT and RSET less than it grants: nothing hangs on those. */
struct smtp_client_timeouts smtp_client_default_timeouts(void)
{
    const int64_t minute = 60 * 1000;
    return (struct smtp_client_timeouts){
        .greeting_ms = 5 * minute,
        .hello_ms = 5 * minute,
        .starttls_ms = 2 * minute,
        .auth_ms = 2 * minute,
        .mail_ms = 5 * minute,
        .rcpt_ms = 5 * minute,
        .data_ms = 2 * minute,
        .body_ms = 3 * minute,
        .end_ms = 10 * minute,
        .rset_ms = 20 * 1000,
        .quit_ms = 10 * 1000,
    };
}

static struct smtp_client_timeouts complete_timeouts(struct smtp_client_timeouts t)
{
    struct smtp_client_timeouts d = smtp_client_default_timeouts();
    t.greeting_ms = t.greeting_ms > 0 ? t.greeting_ms : d.greeting_ms;
    t.hello_ms = t.hello_ms > 0 ? t.hello_ms : d.hello_ms;
    t.starttls_ms = t.starttls_ms > 0 ? t.starttls_ms : d.starttls_ms;
    t.auth_ms = t.auth_ms > 0 ? t.auth_ms : d.auth_ms;
    t.mail_ms = t.mail_ms > 0 ? t.mail_ms : d.mail_ms;
    t.rcpt_ms = t.rcpt_ms > 0 ? t.rcpt_ms : d.rcpt_ms;
    t.data_ms = t.data_ms > 0 ? t.data_ms : d.data_ms;
    t.body_ms = t.body_ms > 0 ? t.body_ms : d.body_ms;
    t.end_ms = t.end_ms > 0 ? t.end_ms : d.end_ms;
    t.rset_ms = t.rset_ms > 0 ? t.rset_ms : d.rset_ms;
    t.quit_ms = t.quit_ms > 0 ? t.quit_ms : d.quit_ms;
    return t;
}

bool smtp_client_init(struct smtp_client *c, const struct smtp_client_options *options, int64_t now,
                      struct err *e)
{
    *c = (struct smtp_client){
        .tls = options->tls,
        .secured = options->secured,
        .auth_wanted = options->auth,
        .auth_needs_tls = options->auth_needs_tls,
        .helo_only = options->helo_only,
        .no_pipelining = options->no_pipelining,
        .timeouts = complete_timeouts(options->timeouts),
        .output_max = options->output_max > 0 ? options->output_max : OUTPUT_DEFAULT,
    };
    if (c->output_max < 1024)
        c->output_max = 1024;
    struct span name = span_str(options->hello_name);
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f)
            return err_set(e, ERR_PERM, "EHLO name: has a character that no host name has");
    if (name.n == 0 || !span_cstr(name, c->hello_name, sizeof c->hello_name))
        return err_set(e, ERR_PERM, "EHLO name: empty or longer than %d",
                       SMTP_CLIENT_HELLO_MAX - 1);
    buf_init(&c->in, INPUT_MAX);
    buf_init(&c->out, c->output_max + COMMAND_ROOM);
    buf_init(&c->challenge, CHALLENGE_MAX);
    smtp_reply_parser_init(&c->parser);
    smtp_client_enter(c, SMTP_CLIENT_IN_GREETING, now);
    return true;
}

static void drop_output(struct smtp_client *c)
{
    if (c->out_secret && c->out.n > 0)
        secret_wipe_bytes(c->out.p + c->out.start, c->out.n);
    c->out_secret = false;
    buf_reset(&c->out);
}

void smtp_client_deinit(struct smtp_client *c)
{
    if (c == NULL)
        return;
    drop_output(c);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->challenge);
    smtp_reply_parser_deinit(&c->parser);
    secret_wipe(&c->initial);
    free(c->recipient_state);
    c->recipient_state = NULL;
    c->state = SMTP_CLIENT_IN_CLOSED;
    c->closing_told = true;
    c->telling = false;
}

/* ---- states ---- */

static int64_t timeout_of(const struct smtp_client *c)
{
    int64_t ms;
    memcpy(&ms, (const char *)&c->timeouts + states[c->state].timeout_at, sizeof ms);
    return ms;
}

void smtp_client_enter(struct smtp_client *c, enum smtp_client_state state, int64_t now)
{
    c->state = state;
    c->announce = state == SMTP_CLIENT_IN_TLS || state == SMTP_CLIENT_IN_AUTH_CHOICE ||
                  state == SMTP_CLIENT_IN_AUTH_ANSWER || state == SMTP_CLIENT_IN_READY;
    c->deadline = states[state].awaited == NULL ? SMTP_CLIENT_NO_DEADLINE : now + timeout_of(c);
}

void smtp_client_command(struct smtp_client *c, const char *line)
{
    (void)buf_addf(&c->out, "%s\r\n", line);
}

void smtp_client_close(struct smtp_client *c)
{
    if (c->t != NULL && !c->telling) {
        /* Our dot is out and no verdict came back: the peer may have the message. */
        bool maybe = c->state == SMTP_CLIENT_IN_DOT && c->out.n == 0 && c->closing.code == 0;
        c->shared = c->closing;
        c->shared.maybe_delivered = maybe;
        c->telling = true;
        c->told = 0;
    }
    drop_output(c);
    buf_reset(&c->in);
    secret_wipe(&c->initial);
    c->state = SMTP_CLIENT_IN_CLOSED;
    c->announce = false;
    c->deadline = SMTP_CLIENT_NO_DEADLINE;
}

void smtp_client_fail(struct smtp_client *c, const char *status, const char *text)
{
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    smtp_client_outcome_set(&c->closing, SMTP_CLIENT_DEFERRED, status, text);
    smtp_client_close(c);
}

void smtp_client_give_up(struct smtp_client *c, const char *status, const char *text)
{
    smtp_client_fail(c, status, text);
    smtp_client_command(c, "QUIT");
}

void smtp_client_give_up_on_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
    smtp_client_outcome_from_reply(&c->closing, reply);
    c->closing.result = SMTP_CLIENT_DEFERRED;
    smtp_client_close(c);
    if (reply->code != 421)
        smtp_client_command(c, "QUIT");
}

/* ---- the outside ---- */

void smtp_client_feed(struct smtp_client *c, struct span bytes, int64_t now)
{
    (void)now;
    if (c->state == SMTP_CLIENT_IN_CLOSED || bytes.n == 0)
        return;
    if (c->state == SMTP_CLIENT_IN_TLS) {
        smtp_client_fail(c, "4.7.0", "the next hop sent clear text behind its reply to STARTTLS");
        return;
    }
    if (!buf_add(&c->in, bytes))
        smtp_client_fail(c, "4.5.0", "the next hop floods us with replies");
}

/* A connection that was good for an earlier message and is dead before it said a word on this one
 * has cost the message nothing. */
static bool nothing_attempted(const struct smtp_client *c)
{
    return c->t != NULL && !c->telling && c->used_before && !c->reply_seen;
}

void smtp_client_lost(struct smtp_client *c, const char *why)
{
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    if (c->state == SMTP_CLIENT_IN_QUIT) {
        smtp_client_close(c);
        return;
    }
    bool fresh = nothing_attempted(c);
    char text[SMTP_CLIENT_TEXT_MAX];
    const char *awaited = states[c->state].awaited;
    (void)snprintf(text, sizeof text, "the connection was lost%s%s: %s",
                   awaited != NULL ? " while waiting for " : "", awaited != NULL ? awaited : "",
                   why != NULL ? why : "closed by the next hop");
    smtp_client_fail(c, "4.4.2", text);
    c->closing.no_attempt = c->shared.no_attempt = fresh;
}

static const char *awaited_words(const struct smtp_client *c)
{
    if (c->state != SMTP_CLIENT_IN_ENVELOPE || c->commands_answered == 0)
        return states[c->state].awaited;
    return c->commands_answered <= c->t->recipient_count ? "the reply to RCPT"
                                                         : "the reply to DATA";
}

void smtp_client_timeout(struct smtp_client *c, int64_t now)
{
    if (now < c->deadline || c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    if (c->state == SMTP_CLIENT_IN_QUIT) {
        smtp_client_close(c);
        return;
    }
    char text[128];
    (void)snprintf(text, sizeof text, "timed out waiting for %s", awaited_words(c));
    smtp_client_fail(c, "4.4.2", text);
}

int64_t smtp_client_deadline(const struct smtp_client *c)
{
    return c->deadline;
}

void smtp_client_abort(struct smtp_client *c, const char *why)
{
    smtp_client_fail(c, "4.3.0", why != NULL ? why : "given up by ourselves");
}

void smtp_client_quit(struct smtp_client *c, int64_t now)
{
    if (c->state != SMTP_CLIENT_IN_READY && c->state != SMTP_CLIENT_IN_AUTH_CHOICE) {
        smtp_client_abort(c, NULL);
        return;
    }
    smtp_client_command(c, "QUIT");
    smtp_client_outcome_set(&c->closing, SMTP_CLIENT_DELIVERED, "2.0.0", "closed in good order");
    smtp_client_enter(c, SMTP_CLIENT_IN_QUIT, now);
}

struct span smtp_client_output(const struct smtp_client *c)
{
    return buf_span(&c->out);
}

void smtp_client_sent(struct smtp_client *c, size_t n, int64_t now)
{
    if (n > c->out.n)
        n = c->out.n;
    if (c->out_secret)
        secret_wipe_bytes(c->out.p + c->out.start, n);
    buf_consume(&c->out, n);
    if (c->out.n == 0)
        c->out_secret = false;
    bool moves = c->state == SMTP_CLIENT_IN_BODY || c->state == SMTP_CLIENT_IN_DOT;
    if (n > 0 && moves) /* the peer takes it: the wait begins anew */
        c->deadline = now + timeout_of(c);
}

bool smtp_client_output_is_secret(const struct smtp_client *c)
{
    return c->out_secret;
}

enum smtp_client_state smtp_client_state(const struct smtp_client *c)
{
    return c->state;
}

const struct smtp_client_capabilities *smtp_client_capabilities(const struct smtp_client *c)
{
    return &c->caps;
}

/* ---- events ---- */

static void announce(struct smtp_client *c, struct smtp_client_event *event)
{
    c->announce = false;
    *event = (struct smtp_client_event){0};
    if (c->state == SMTP_CLIENT_IN_TLS) {
        event->kind = SMTP_CLIENT_WANT_TLS;
    } else if (c->state == SMTP_CLIENT_IN_READY) {
        event->kind = SMTP_CLIENT_READY;
    } else if (c->state == SMTP_CLIENT_IN_AUTH_CHOICE) {
        event->kind = SMTP_CLIENT_AUTH_NEEDED;
        event->data = span_str(c->caps.auth);
    } else {
        event->kind = SMTP_CLIENT_AUTH_CHALLENGE;
        event->data = buf_span(&c->challenge);
    }
}

static void on_rset(struct smtp_client *c, const struct smtp_reply *reply, int64_t now)
{
    if (smtp_reply_is_ok(reply))
        smtp_client_enter(c, SMTP_CLIENT_IN_READY, now);
    else
        smtp_client_give_up_on_reply(c, reply);
}

/* 421 at any time: the peer closes (RFC 5321 3.8). */
static void on_closing_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (c->state == SMTP_CLIENT_IN_QUIT) {
        smtp_client_close(c);
        return;
    }
    smtp_client_outcome_from_reply(&c->closing, reply);
    c->closing.no_attempt = nothing_attempted(c);
    smtp_client_close(c);
}

/* True where a command of ours is out and unanswered, so that a reply makes sense. */
static bool reply_is_due(const struct smtp_client *c, const struct smtp_reply *reply)
{
    if (c->state == SMTP_CLIENT_IN_BODY) /* nothing good can come, but a refusal is understood */
        return true;
    if (c->state == SMTP_CLIENT_IN_DOT && reply->code >= 400) /* before our dot is out: the same */
        return true;
    if (states[c->state].awaited == NULL)
        return false;
    if (c->state == SMTP_CLIENT_IN_ENVELOPE)
        return c->commands_answered < c->commands_sent;
    return c->out.n == 0;
}

static bool on_reply(struct smtp_client *c, const struct smtp_reply *reply, int64_t now,
                     struct smtp_client_event *event)
{
    if (reply->code == 421) {
        on_closing_reply(c, reply);
        return false;
    }
    if (!reply_is_due(c, reply)) {
        smtp_client_fail(c, "4.5.0", "the next hop sent a reply to nothing");
        return false;
    }
    switch (c->state) {
    case SMTP_CLIENT_IN_GREETING: smtp_client_on_greeting(c, reply, now); break;
    case SMTP_CLIENT_IN_EHLO: smtp_client_on_ehlo(c, reply, now); break;
    case SMTP_CLIENT_IN_HELO: smtp_client_on_helo(c, reply, now); break;
    case SMTP_CLIENT_IN_STARTTLS: smtp_client_on_starttls(c, reply, now); break;
    case SMTP_CLIENT_IN_AUTH: return smtp_client_on_auth(c, reply, now, event);
    case SMTP_CLIENT_IN_ENVELOPE: return smtp_client_on_envelope(c, reply, now, event);
    case SMTP_CLIENT_IN_BODY: smtp_client_on_body(c, reply); break;
    case SMTP_CLIENT_IN_DOT:
    case SMTP_CLIENT_IN_LONE_DOT: smtp_client_on_dot(c, reply); break;
    case SMTP_CLIENT_IN_RSET: on_rset(c, reply, now); break;
    case SMTP_CLIENT_IN_QUIT: smtp_client_close(c); break;
    case SMTP_CLIENT_IN_TLS:
    case SMTP_CLIENT_IN_AUTH_CHOICE:
    case SMTP_CLIENT_IN_AUTH_ANSWER:
    case SMTP_CLIENT_IN_READY:
    case SMTP_CLIENT_IN_CLOSED:
    case SMTP_CLIENT_STATE_COUNT: break; /* not due, see above */
    }
    return false;
}

/* Takes one reply out of what was fed. False: there is none yet. */
static bool take_reply(struct smtp_client *c, struct smtp_reply *reply)
{
    size_t used = 0;
    if (c->in.n == 0)
        return false;
    enum smtp_reply_status status = smtp_reply_parser_feed(&c->parser, buf_span(&c->in), &used);
    buf_consume(&c->in, used);
    if (status == SMTP_REPLY_BAD) {
        char text[160];
        (void)snprintf(text, sizeof text, "the next hop does not speak SMTP: %s",
                       c->parser.failure != NULL ? c->parser.failure : "no reply");
        smtp_client_fail(c, "4.5.0", text);
        return false;
    }
    if (status == SMTP_REPLY_MORE)
        return false;
    *reply = smtp_reply_parser_reply(&c->parser);
    return true;
}

static bool tell_closed(struct smtp_client *c, struct smtp_client_event *event)
{
    if (c->closing_told)
        return false;
    c->closing_told = true;
    c->outcome = c->closing;
    *event = (struct smtp_client_event){.kind = SMTP_CLIENT_CLOSED, .outcome = &c->outcome};
    return true;
}

bool smtp_client_next_event(struct smtp_client *c, int64_t now, struct smtp_client_event *event)
{
    for (;;) {
        if (c->out.failed) /* a command is not whole: none of it must go out */
            smtp_client_fail(c, "4.3.0", "no memory for a command");
        if (c->telling) {
            smtp_client_tell(c, now, event);
            return true;
        }
        if (c->state == SMTP_CLIENT_IN_CLOSED)
            return tell_closed(c, event);
        if (c->announce) {
            announce(c, event);
            return true;
        }
        struct smtp_reply reply;
        if (take_reply(c, &reply)) {
            if (on_reply(c, &reply, now, event))
                return true;
            continue;
        }
        if (c->state == SMTP_CLIENT_IN_CLOSED)
            continue;
        if (c->state == SMTP_CLIENT_IN_ENVELOPE)
            smtp_client_pump(c, now);
        if (c->state == SMTP_CLIENT_IN_BODY && !c->body_asked && c->out.n <= c->output_max / 2) {
            c->body_asked = true;
            *event = (struct smtp_client_event){.kind = SMTP_CLIENT_WANT_BODY};
            return true;
        }
        if (!c->telling)
            return false;
    }
}
