/* The commands: what is allowed when, then for each verb check_x (pure) and enter_x. */
#include "smtp/server_internal.h"

#include <stdio.h>

#define ALWAYS                                                                                     \
    [SMTP_VERB_EHLO] = 1, [SMTP_VERB_HELO] = 1, [SMTP_VERB_RSET] = 1, [SMTP_VERB_NOOP] = 1,        \
    [SMTP_VERB_VRFY] = 1, [SMTP_VERB_HELP] = 1, [SMTP_VERB_QUIT] = 1, [SMTP_VERB_STARTTLS] = 1

/* The table of server_engine.h. */
static const uint8_t allowed[SMTP_STATE_COUNT][SMTP_VERB_COUNT] = {
    [SMTP_STATE_HELLO] = {ALWAYS},
    [SMTP_STATE_READY] = {ALWAYS, [SMTP_VERB_MAIL] = 1, [SMTP_VERB_AUTH] = 1},
    [SMTP_STATE_MAIL] = {ALWAYS, [SMTP_VERB_RCPT] = 1},
    [SMTP_STATE_RCPT] = {ALWAYS, [SMTP_VERB_RCPT] = 1, [SMTP_VERB_DATA] = 1, [SMTP_VERB_BDAT] = 1},
    [SMTP_STATE_CHUNK] = {ALWAYS, [SMTP_VERB_BDAT] = 1},
    [SMTP_STATE_FAILED] = {ALWAYS},
};

/* Open without TLS where TLS is required (RFC 3207 4, with RSET). */
static const uint8_t before_tls[SMTP_VERB_COUNT] = {
    [SMTP_VERB_EHLO] = 1, [SMTP_VERB_HELO] = 1,     [SMTP_VERB_NOOP] = 1,
    [SMTP_VERB_QUIT] = 1, [SMTP_VERB_STARTTLS] = 1, [SMTP_VERB_RSET] = 1,
};

static const char *out_of_order(const struct smtp_server *s, enum smtp_verb verb)
{
    switch (s->state) {
    case SMTP_STATE_HELLO: return verb == SMTP_VERB_AUTH ? "Send EHLO first" : "Send hello first";
    case SMTP_STATE_READY: return "Need mail command.";
    case SMTP_STATE_FAILED: return "A BDAT command failed; send RSET first";
    case SMTP_STATE_CHUNK: return "Content is being sent by BDAT; go on with BDAT or RSET";
    case SMTP_STATE_MAIL:
    case SMTP_STATE_RCPT:
        if (verb == SMTP_VERB_AUTH)
            return "AUTH is not allowed during a mail transaction";
        return verb == SMTP_VERB_MAIL ? "Sender already specified" : "Need Rcpt command.";
    case SMTP_STATE_COUNT: break;
    }
    return "Bad sequence of commands";
}

static bool lacks_tls(const struct smtp_server *s)
{
    return s->options->require_tls && !s->tls;
}

static struct smtp_reply tls_first(void)
{
    return smtp_reply_make(530, "5.7.0", "Must issue a STARTTLS command first");
}

static bool check_order(const struct smtp_server *s, enum smtp_verb verb,
                        struct smtp_reply *refusal)
{
    bool asks_session = verb == SMTP_VERB_MAIL && s->state == SMTP_STATE_READY;
    if (lacks_tls(s) && !asks_session && (verb >= SMTP_VERB_COUNT || !before_tls[verb])) {
        *refusal = tls_first();
        return false;
    }
    switch (verb) {
    case SMTP_VERB_NOT_DONE:
        *refusal = smtp_reply_make(502, "5.5.1", "Command not implemented");
        return false;
    case SMTP_VERB_UNKNOWN:
    case SMTP_VERB_NOT_SMTP:
        *refusal = smtp_reply_make(500, "5.3.3", "Unrecognized command");
        return false;
    default: break; /* the others stand in the table */
    }
    if (verb == SMTP_VERB_BDAT && !s->options->chunking) {
        *refusal = smtp_reply_make(502, "5.5.1", "Command not implemented");
        return false;
    }
    if (allowed[s->state][verb])
        return true;
    bool need_rcpt = s->state == SMTP_STATE_MAIL && verb != SMTP_VERB_MAIL &&
                     verb != SMTP_VERB_AUTH; /* IIS says 5.5.2 here */
    *refusal = smtp_reply_make(503, need_rcpt ? "5.5.2" : "5.5.1", out_of_order(s, verb));
    return false;
}

/* ---- EHLO, HELO ---- */

static enum server_step enter_hello(struct smtp_server *s, bool extended, struct span args,
                                    struct smtp_server_event *event)
{
    bool again = s->state != SMTP_STATE_HELLO;
    if (again)
        server_junk(s);
    if (s->mode == SMTP_MODE_CLOSED)
        return STEP_AGAIN;
    smtp_hello_name(args, s->path.address, &event->hello.odd);
    event->hello.name = span_str(s->path.address);
    event->hello.extended = extended;
    s->hello_extended = extended;
    return server_open(s, event, SMTP_SERVER_HELLO);
}

static bool list_has_login(const char *list)
{
    for (struct span rest = span_str(list); rest.n > 0;) {
        size_t end = span_find(rest, ' ');
        if (span_is_nocase(span_sub(rest, 0, end), "LOGIN"))
            return true;
        rest = span_from(rest, end + 1);
    }
    return false;
}

/* The reply to EHLO, as IIS orders it: OK is the last line. */
static void say_extensions(struct smtp_server *s)
{
    const struct smtp_server_options *o = s->options;
    const char *auth = s->tls ? o->auth_tls : o->auth;
    struct buf text;
    buf_init(&text, 4096);
    (void)buf_addf(&text, "%s Hello [%s]\n", o->hostname, s->client);
    if (o->message_size_max > 0)
        (void)buf_addf(&text, "SIZE %llu\n", (unsigned long long)o->message_size_max);
    else
        (void)buf_add_str(&text, "SIZE\n");
    (void)buf_addf(&text, "PIPELINING\n%sENHANCEDSTATUSCODES\n8BITMIME\n%s%s%s",
                   o->dsn ? "DSN\n" : "", o->smtputf8 ? "SMTPUTF8\n" : "",
                   o->chunking ? "CHUNKING\n" : "", o->starttls && !s->tls ? "STARTTLS\n" : "");
    if (auth != NULL && auth[0] != '\0')
        (void)buf_addf(&text, "AUTH %s\n%s", auth, list_has_login(auth) ? "AUTH=LOGIN\n" : "");
    if (!buf_add_str(&text, "HELP\nOK")) {
        server_say(s, 421, "4.3.0", "Insufficient memory, try again later");
        server_close(s, SMTP_CLOSE_MEMORY);
    } else {
        struct smtp_reply reply = smtp_reply_make(250, NULL, NULL);
        reply.text = buf_span(&text);
        server_say_reply(s, &reply);
    }
    buf_deinit(&text);
}

void server_answer_hello(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply != NULL && !smtp_reply_is_ok(reply)) {
        server_say_reply(s, reply);
        return;
    }
    s->state = SMTP_STATE_READY;
    s->extended = s->hello_extended;
    if (reply != NULL) {
        server_say_reply(s, reply);
    } else if (s->extended) {
        say_extensions(s);
    } else {
        char text[384];
        (void)snprintf(text, sizeof text, "%s Hello [%s]", s->options->hostname, s->client);
        server_say(s, 250, NULL, text);
    }
}

/* ---- MAIL ---- */

static struct smtp_dialect dialect(const struct smtp_server *s)
{
    return (struct smtp_dialect){
        .extended = s->extended, .smtputf8 = s->options->smtputf8, .dsn = s->options->dsn};
}

/* A session that has used up what it may: 421, so that the client comes again. */
static const char *check_session(const struct smtp_server *s)
{
    const struct smtp_server_options *o = s->options;
    if (o->messages_max > 0 && s->messages >= o->messages_max)
        return "Too many messages on this connection, open a new one";
    if (o->session_size_max > 0 && s->session_size >= o->session_size_max)
        return "Session size limit reached, open a new connection";
    return NULL;
}

static bool check_mail(const struct smtp_server *s, const struct smtp_mail_params *params,
                       struct smtp_reply *refusal)
{
    uint64_t max = s->options->message_size_max;
    if (max == 0 || !params->has_size || params->size <= max)
        return true;
    *refusal = smtp_reply_make(552, "5.3.4", "Message size exceeds fixed maximum message size");
    return false;
}

static enum server_step enter_mail(struct smtp_server *s, struct span args,
                                   struct smtp_server_event *event)
{
    struct smtp_reply refusal;
    const char *spent = check_session(s);
    if (spent != NULL) {
        server_say(s, 421, "4.5.3", spent);
        server_close(s, SMTP_CLOSE_LIMIT);
        return STEP_AGAIN;
    }
    if (!smtp_mail_parse(args, dialect(s), &s->path, &event->mail.params, &refusal)) {
        server_error_reply(s, &refusal);
        return STEP_AGAIN;
    }
    if (!check_mail(s, &event->mail.params, &refusal)) {
        server_say_reply(s, &refusal);
        server_junk(s);
        return STEP_AGAIN;
    }
    event->mail.path = &s->path;
    s->smtputf8 = event->mail.params.smtputf8;
    return server_open(s, event, SMTP_SERVER_MAIL);
}

void server_answer_mail(struct smtp_server *s, const struct smtp_reply *reply)
{
    struct smtp_reply refusal = tls_first();
    if (lacks_tls(s) && (reply == NULL || smtp_reply_is_ok(reply)))
        reply = &refusal;
    if (reply != NULL && !smtp_reply_is_ok(reply)) {
        server_say_reply(s, reply);
        server_junk(s);
        return;
    }
    s->state = SMTP_STATE_MAIL;
    s->recipients = 0;
    if (reply != NULL) {
        server_say_reply(s, reply);
        return;
    }
    char text[SMTP_PATH_MAX + 32];
    (void)snprintf(text, sizeof text, "%s....Sender OK", s->path.null ? "<>" : s->path.address);
    server_say(s, 250, "2.1.0", text);
}

/* ---- RCPT ---- */

static enum server_step enter_rcpt(struct smtp_server *s, struct span args,
                                   struct smtp_server_event *event)
{
    struct smtp_reply refusal;
    if (s->options->recipients_max > 0 && s->recipients >= s->options->recipients_max) {
        server_say(s, 452, "4.5.3", "Too many recipients");
        server_junk(s);
        return STEP_AGAIN;
    }
    if (!smtp_rcpt_parse(args, dialect(s), s->smtputf8, &s->path, &event->rcpt.params, &refusal)) {
        server_error_reply(s, &refusal);
        return STEP_AGAIN;
    }
    event->rcpt.path = &s->path;
    return server_open(s, event, SMTP_SERVER_RCPT);
}

void server_answer_rcpt(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply != NULL && !smtp_reply_is_ok(reply)) {
        server_say_reply(s, reply);
        server_junk(s);
        return;
    }
    s->state = SMTP_STATE_RCPT;
    s->recipients++;
    if (reply != NULL)
        server_say_reply(s, reply);
    else
        server_say(s, 250, "2.1.5", s->path.address);
}

/* ---- the small ones ---- */

static enum server_step enter_starttls(struct smtp_server *s, struct smtp_server_event *event)
{
    if (s->tls)
        server_error(s, 503, "5.5.1", "TLS is already in use");
    else if (!s->options->starttls)
        server_error(s, 502, "5.5.1", "Command not implemented");
    else
        return server_open(s, event, SMTP_SERVER_STARTTLS);
    return STEP_AGAIN;
}

static void enter_vrfy(struct smtp_server *s, struct span args)
{
    char text[400];
    if (args.n == 0) {
        server_error(s, 501, "5.5.4", "VRFY takes an address");
        return;
    }
    args = span_sub(args, 0, SMTP_PATH_MAX);
    if (!s->smtputf8 || !smtp_utf8_valid(args))
        for (size_t i = 0; i < args.n; i++)
            if (args.p[i] >= 0x80)
                args.n = i;
    (void)snprintf(text, sizeof text, "Cannot VRFY user, but will take message for <%.*s>",
                   SPAN_ARG(args));
    server_say(s, 252, "2.1.5", text);
    server_junk(s);
}

static void enter_quit(struct smtp_server *s)
{
    char text[384];
    (void)snprintf(text, sizeof text, "%s Service closing transmission channel",
                   s->options->hostname);
    server_say(s, 221, "2.0.0", text);
    server_close(s, SMTP_CLOSE_QUIT);
}

static void enter_rset(struct smtp_server *s)
{
    if (smtp_server_in_transaction(s))
        server_end_transaction(s, true);
    server_say(s, 250, "2.0.0", "Resetting");
    server_junk(s);
}

/* RFC 5321 4.1.1: these take no argument, and one that is there may hide something. */
static bool check_no_argument(enum smtp_verb verb, struct span args, struct smtp_reply *refusal)
{
    bool none = verb == SMTP_VERB_DATA || verb == SMTP_VERB_RSET || verb == SMTP_VERB_STARTTLS;
    if (!none || args.n == 0)
        return true;
    *refusal = smtp_reply_make(501, "5.5.4", "The command takes no argument");
    return false;
}

static enum server_step enter(struct smtp_server *s, enum smtp_verb verb, struct span args,
                              struct smtp_server_event *event)
{
    switch (verb) {
    case SMTP_VERB_EHLO: return enter_hello(s, true, args, event);
    case SMTP_VERB_HELO: return enter_hello(s, false, args, event);
    case SMTP_VERB_MAIL: return enter_mail(s, args, event);
    case SMTP_VERB_RCPT: return enter_rcpt(s, args, event);
    case SMTP_VERB_DATA: return server_enter_data(s, event);
    case SMTP_VERB_BDAT: return server_enter_bdat(s, args, NULL, event);
    case SMTP_VERB_STARTTLS: return enter_starttls(s, event);
    case SMTP_VERB_AUTH: return server_enter_auth(s, args, event);
    case SMTP_VERB_RSET: enter_rset(s); break;
    case SMTP_VERB_VRFY: enter_vrfy(s, args); break;
    case SMTP_VERB_QUIT: enter_quit(s); break;
    case SMTP_VERB_NOOP:
        server_say(s, 250, "2.0.0", "OK");
        server_junk(s);
        break;
    case SMTP_VERB_HELP:
        server_say(s, 214, "2.0.0",
                   "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS "
                   "AUTH");
        server_junk(s);
        break;
    case SMTP_VERB_COUNT:
    case SMTP_VERB_NOT_SMTP:
    case SMTP_VERB_UNKNOWN: break;
    }
    return STEP_AGAIN;
}

enum server_step server_command(struct smtp_server *s, struct span line,
                                struct smtp_server_event *event)
{
    struct span args;
    struct smtp_reply refusal;
    enum smtp_verb verb = smtp_verb_find(line, &args);
    bool in_order = check_order(s, verb, &refusal);
    if (!in_order && verb == SMTP_VERB_BDAT)
        return server_enter_bdat(s, args, &refusal, event);
    if (in_order && check_no_argument(verb, args, &refusal))
        return enter(s, verb, args, event);
    server_error_reply(s, &refusal);
    if (verb == SMTP_VERB_NOT_SMTP && s->mode != SMTP_MODE_CLOSED) { /* a browser led here */
        server_say(s, 421, "4.7.0", "This is an SMTP service, closing transmission channel");
        server_close(s, SMTP_CLOSE_PROTOCOL);
    }
    return STEP_AGAIN;
}
