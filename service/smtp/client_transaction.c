#include "smtp/client_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum recipient_state {
    RECIPIENT_UNDECIDED,
    RECIPIENT_ACCEPTED,  /* shares the fate of the message */
    RECIPIENT_TOLD,      /* its own refusal was given out */
    RECIPIENT_NEEDS_UTF8 /* never offered to this peer: 5.6.7 */
};

/* ---- what may stand on a command line ---- */

/* RFC 3461 4.4: ENVID and ORCPT are xtext; printable ASCII without spaces in any case. */
static bool parameter_is_clean(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    return s.n <= SMTP_CLIENT_ADDRESS_MAX;
}

/* No control character anywhere; outside a quoted string nothing that would end the path. */
static bool address_is_clean(struct span s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c < ' ' || c == 0x7f)
            return false;
        if (quoted && c == '\\') {
            if (++i >= s.n || s.p[i] < ' ' || s.p[i] == 0x7f)
                return false;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == ' ' || c == '<' || c == '>')) {
            return false;
        }
    }
    return !quoted && s.n <= SMTP_CLIENT_ADDRESS_MAX;
}

static bool is_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] > 0x7f)
            return false;
    return true;
}

static bool transaction_is_clean(const struct smtp_client_transaction *t, struct err *e)
{
    if (!address_is_clean(t->sender) || !parameter_is_clean(t->envid))
        return err_set(e, ERR_PERM, "sender: cannot stand in a MAIL command");
    if (t->recipient_count == 0)
        return err_set(e, ERR_BUG, "transaction: has no recipients");
    for (size_t i = 0; i < t->recipient_count; i++) {
        const struct smtp_client_recipient *r = &t->recipients[i];
        if (r->address.n == 0 || !address_is_clean(r->address) || !parameter_is_clean(r->orcpt))
            return err_set(e, ERR_PERM, "recipient %zu: cannot stand in a RCPT command", i);
    }
    return true;
}

/* ---- begin and end ---- */

/* All recipients that have no verdict of their own get c->shared. */
static void settle(struct smtp_client *c)
{
    c->telling = true;
    c->told = 0;
    c->deadline = SMTP_CLIENT_NO_DEADLINE;
}

/* From i on, the next command that is to be sent at all. */
static size_t next_command(const struct smtp_client *c, size_t i)
{
    while (i > 0 && i <= c->t->recipient_count && c->recipient_state[i - 1] == RECIPIENT_NEEDS_UTF8)
        i++;
    return i;
}

static void mark_utf8_recipients(struct smtp_client *c)
{
    const struct smtp_client_transaction *t = c->t;
    bool all = t->utf8 || !is_ascii(t->sender);
    for (size_t i = 0; i < t->recipient_count; i++)
        if (all || !is_ascii(t->recipients[i].address))
            c->recipient_state[i] = RECIPIENT_NEEDS_UTF8;
}

static bool message_needs_utf8(const struct smtp_client_transaction *t)
{
    bool needs = t->utf8 || !is_ascii(t->sender);
    for (size_t i = 0; i < t->recipient_count && !needs; i++)
        needs = !is_ascii(t->recipients[i].address);
    return needs;
}

bool smtp_client_start(struct smtp_client *c, const struct smtp_client_transaction *t, int64_t now,
                       struct err *e)
{
    if (c->state != SMTP_CLIENT_IN_READY)
        return err_set(e, ERR_BUG, "SMTP client: a transaction where none may begin");
    if (!transaction_is_clean(t, e))
        return false;
    uint8_t *recipient_state = calloc(t->recipient_count, sizeof *recipient_state);
    if (recipient_state == NULL)
        return err_set(e, ERR_TEMP, "SMTP client: no memory for %zu recipients",
                       t->recipient_count);
    c->t = t;
    c->recipient_state = recipient_state;
    c->commands_sent = c->commands_answered = c->accepted = 0;
    c->commands_end = t->recipient_count + 2;
    c->mail_refused = c->data_accepted = c->needs_rset = c->reply_seen = c->body_asked = false;
    smtp_client_enter(c, SMTP_CLIENT_IN_ENVELOPE, now);
    if (c->caps.size_limit > 0 && t->size > c->caps.size_limit) { /* RFC 1870 6.1 */
        smtp_client_outcome_set(&c->shared, SMTP_CLIENT_FAILED, "5.3.4",
                                "the message is larger than the next hop takes");
        settle(c);
        return true;
    }
    if (!c->caps.smtputf8)
        mark_utf8_recipients(c);
    size_t first = 1;
    if (next_command(c, first) > t->recipient_count) { /* nobody is left */
        settle(c);
        return true;
    }
    smtp_client_pump(c, now);
    return true;
}

/* ---- the envelope ---- */

static void add_mail(struct smtp_client *c)
{
    const struct smtp_client_transaction *t = c->t;
    (void)buf_add_str(&c->out, "MAIL FROM:<");
    (void)buf_add(&c->out, t->sender);
    (void)buf_add_str(&c->out, ">");
    if (c->caps.size && t->size > 0)
        (void)buf_addf(&c->out, " SIZE=%" PRIu64, t->size);
    if (c->caps.eightbitmime && t->eightbit)
        (void)buf_add_str(&c->out, " BODY=8BITMIME");
    if (c->caps.smtputf8 && message_needs_utf8(t))
        (void)buf_add_str(&c->out, " SMTPUTF8");
    if (c->caps.dsn && t->ret != SMTP_CLIENT_RET_NONE)
        (void)buf_add_str(&c->out, t->ret == SMTP_CLIENT_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (c->caps.dsn && t->envid.n > 0) {
        (void)buf_add_str(&c->out, " ENVID=");
        (void)buf_add(&c->out, t->envid);
    }
    (void)buf_add_str(&c->out, "\r\n");
}

/* notify-esmtp-value = "NEVER" / 1#notify-list-element (RFC 3461 4.1) */
static void add_notify(struct smtp_client *c, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {{SMTP_CLIENT_NOTIFY_SUCCESS, "SUCCESS"},
                 {SMTP_CLIENT_NOTIFY_FAILURE, "FAILURE"},
                 {SMTP_CLIENT_NOTIFY_DELAY, "DELAY"}};
    const char *between = " NOTIFY=";
    if ((notify & SMTP_CLIENT_NOTIFY_NEVER) != 0) {
        (void)buf_add_str(&c->out, " NOTIFY=NEVER");
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if ((notify & words[i].bit) == 0)
            continue;
        (void)buf_addf(&c->out, "%s%s", between, words[i].word);
        between = ",";
    }
}

static void add_rcpt(struct smtp_client *c, const struct smtp_client_recipient *r)
{
    (void)buf_add_str(&c->out, "RCPT TO:<");
    (void)buf_add(&c->out, r->address);
    (void)buf_add_str(&c->out, ">");
    if (c->caps.dsn) {
        add_notify(c, r->notify);
        if (r->orcpt.n > 0) {
            (void)buf_add_str(&c->out, " ORCPT=");
            (void)buf_add(&c->out, r->orcpt);
        }
    }
    (void)buf_add_str(&c->out, "\r\n");
}

/* All replies are in. */
static void finish_envelope(struct smtp_client *c, int64_t now)
{
    if (c->data_accepted && c->accepted > 0) {
        smtp_data_encoder_init(&c->encoder, SMTP_DATA_DOTS);
        smtp_client_enter(c, SMTP_CLIENT_IN_BODY, now);
    } else if (c->data_accepted) { /* RFC 2920 3.1: all were refused, yet the peer waits for data */
        smtp_client_command(c, ".");
        smtp_client_enter(c, SMTP_CLIENT_IN_LONE_DOT, now);
    } else {
        c->needs_rset = true;
        settle(c);
    }
}

void smtp_client_pump(struct smtp_client *c, int64_t now)
{
    size_t data = c->t->recipient_count + 1;
    bool pipelined = c->caps.pipelining && !c->no_pipelining;
    while (c->commands_sent < c->commands_end && c->out.n < c->output_max) {
        bool in_flight = c->commands_answered != c->commands_sent;
        if (in_flight && !pipelined)
            break;
        if (c->commands_sent == data && !in_flight && c->accepted == 0) {
            c->commands_end = data; /* nobody to send to */
            break;
        }
        if (c->commands_sent == 0)
            add_mail(c);
        else if (c->commands_sent < data)
            add_rcpt(c, &c->t->recipients[c->commands_sent - 1]);
        else
            smtp_client_command(c, "DATA");
        c->commands_sent = next_command(c, c->commands_sent + 1);
    }
    if (c->out.failed)
        smtp_client_fail(c, "4.3.0", "no memory for a command");
    else if (c->commands_answered >= c->commands_end)
        finish_envelope(c, now);
}

/* Whether a refused recipient was one too many for this transaction: 452, or the 552 of RFC 5321
 * 4.5.3.1.10, unless its enhanced code says something else. */
static bool is_too_many(const struct smtp_client *c, const struct smtp_reply *reply)
{
    bool says_so = reply->enhanced[0] == '\0' || strcmp(reply->enhanced + 1, ".5.3") == 0;
    return c->accepted > 0 && (reply->code == 452 || reply->code == 552) && says_so;
}

static bool on_rcpt(struct smtp_client *c, size_t recipient, const struct smtp_reply *reply,
                    struct smtp_client_event *event)
{
    if (smtp_reply_is_ok(reply)) {
        c->recipient_state[recipient] = RECIPIENT_ACCEPTED;
        c->accepted++;
        return false;
    }
    c->recipient_state[recipient] = RECIPIENT_TOLD;
    smtp_client_outcome_from_reply(&c->outcome, reply);
    if (is_too_many(c, reply)) {
        c->outcome.too_many = true;
        c->outcome.result = SMTP_CLIENT_DEFERRED;
    }
    *event = (struct smtp_client_event){
        .kind = SMTP_CLIENT_RECIPIENT, .recipient = recipient, .outcome = &c->outcome};
    return true;
}

static int64_t envelope_timeout(const struct smtp_client *c)
{
    return c->commands_answered <= c->t->recipient_count ? c->timeouts.rcpt_ms
                                                         : c->timeouts.data_ms;
}

bool smtp_client_on_envelope(struct smtp_client *c, const struct smtp_reply *reply, int64_t now,
                             struct smtp_client_event *event)
{
    size_t command = c->commands_answered;
    bool is_data = command == c->t->recipient_count + 1;
    bool told = false;
    c->reply_seen = true;
    if ((reply->code < 400 && !is_data && !smtp_reply_is_ok(reply)) ||
        (is_data && smtp_reply_is_ok(reply))) {
        smtp_client_fail(c, "4.5.0",
                         is_data ? "the next hop answered DATA with a 2xx"
                                 : "the next hop answered MAIL or RCPT with a 3xx");
        return false;
    }
    c->commands_answered = next_command(c, command + 1);
    c->deadline = now + envelope_timeout(c);
    if (command == 0 && reply->code >= 400) {
        c->mail_refused = true;
        c->commands_end = c->commands_sent;
        smtp_client_outcome_from_reply(&c->shared, reply);
    } else if (is_data && reply->code >= 400) {
        if (!c->mail_refused)
            smtp_client_outcome_from_reply(&c->shared, reply);
    } else if (is_data) {
        c->data_accepted = true;
    } else if (command > 0 && !c->mail_refused) {
        told = on_rcpt(c, command - 1, reply, event);
    }
    smtp_client_pump(c, now);
    return told;
}

/* ---- the message ---- */

size_t smtp_client_body(struct smtp_client *c, struct span part, bool last, int64_t now)
{
    enum { END_ROOM = 16 }; /* for a line end, the dot, its line end */
    if (c->state != SMTP_CLIENT_IN_BODY)
        return 0;
    size_t room = c->out.n + END_ROOM < c->output_max ? c->output_max - END_ROOM - c->out.n : 0;
    size_t n = part.n < room / 2 ? part.n : room / 2; /* each byte may become two */
    bool ok = n == 0 || smtp_data_encode(&c->encoder, span_sub(part, 0, n), &c->out);
    bool complete = last && n == part.n;
    if (ok && complete)
        ok = smtp_data_encode_end(&c->encoder, &c->out);
    c->body_asked = false;
    if (!ok) {
        smtp_client_fail(c, "4.3.0", "no memory for a part of the message");
        return 0;
    }
    if (complete)
        smtp_client_enter(c, SMTP_CLIENT_IN_DOT, now);
    return n;
}

/* In the midst of our data: a refusal we understand, but there is no way on but to hang up, for a
 * dot would end half a message. */
void smtp_client_on_body(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (reply->code < 400) {
        smtp_client_fail(c, "4.5.0", "the next hop sent a reply in the midst of the message");
        return;
    }
    smtp_client_outcome_from_reply(&c->closing, reply);
    smtp_client_close(c);
    c->closing.result = SMTP_CLIENT_DEFERRED; /* the message's verdict is not the connection's */
}

void smtp_client_on_dot(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (c->state == SMTP_CLIENT_IN_LONE_DOT) { /* whatever it says, nobody was to get anything */
        settle(c);
        return;
    }
    if (reply->code >= 300 && reply->code < 400) {
        smtp_client_fail(c, "4.5.0", "the next hop answered the end of the message with a 3xx");
        return;
    }
    if (c->out.n > 0) { /* a refusal before the peer can have seen the end */
        smtp_client_on_body(c, reply);
        return;
    }
    smtp_client_outcome_from_reply(&c->shared, reply);
    c->shared.dsn_passed_on = c->shared.result == SMTP_CLIENT_DELIVERED && c->caps.dsn;
    settle(c);
}

/* ---- the end of a transaction ---- */

static void finish(struct smtp_client *c, int64_t now)
{
    free(c->recipient_state);
    c->recipient_state = NULL;
    c->t = NULL;
    c->telling = false;
    c->used_before |= c->reply_seen;
    if (c->out.n == 0)
        buf_release(&c->out); /* an idle connection needs no 64 KiB */
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    if (c->needs_rset) {
        smtp_client_command(c, "RSET");
        smtp_client_enter(c, SMTP_CLIENT_IN_RSET, now);
    } else {
        smtp_client_enter(c, SMTP_CLIENT_IN_READY, now);
    }
}

void smtp_client_tell(struct smtp_client *c, int64_t now, struct smtp_client_event *event)
{
    while (c->told < c->t->recipient_count && c->recipient_state[c->told] == RECIPIENT_TOLD)
        c->told++;
    if (c->told == c->t->recipient_count) {
        finish(c, now);
        *event = (struct smtp_client_event){.kind = SMTP_CLIENT_FINISHED};
        return;
    }
    if (c->recipient_state[c->told] == RECIPIENT_NEEDS_UTF8)
        smtp_client_outcome_set(&c->outcome, SMTP_CLIENT_FAILED, "5.6.7",
                                "the message needs SMTPUTF8, which the next hop does not offer");
    else
        c->outcome = c->shared;
    *event = (struct smtp_client_event){
        .kind = SMTP_CLIENT_RECIPIENT, .recipient = c->told, .outcome = &c->outcome};
    c->told++;
}
