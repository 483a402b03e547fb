#include "auth/exchange_parts.h"

#include "auth/scram.h"
#include "auth/userdb.h"
#include "base/base64.h"

#include <stdio.h>

/* AUTH_CONTINUE = go on. From here on the throttle has its say. */
static enum auth_outcome take_name(struct auth_exchange *x, struct span name)
{
    const struct auth_options *o = &x->s->options;
    if (name.n > EXCHANGE_NAME_MAX || !span_cstr(name, x->name, sizeof x->name))
        return exchange_refuse(x, AUTH_SYNTAX, "the name is too long or holds a NUL");
    x->resolved = identity_resolve(name, o, &x->id);
    switch (x->resolved) {
    case IDENTITY_EMPTY: return exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the name is empty");
    case IDENTITY_MALFORMED: return exchange_refuse(x, AUTH_SYNTAX, "the name is malformed");
    case IDENTITY_OK: (void)snprintf(x->subject, sizeof x->subject, "%s", x->id.canonical); break;
    case IDENTITY_NO_DOMAIN:
        (void)snprintf(x->subject, sizeof x->subject, "?\\%s", x->name);
        ascii_lower_str(x->subject);
        break;
    }
    x->phase = PHASE_NAME_KNOWN;
    if (auth_throttle_check(x->auth, &x->peer.client, x->subject).refuse)
        return exchange_refuse(x, AUTH_THROTTLED, "too many wrong passwords from this address");
    return AUTH_CONTINUE;
}

static enum auth_outcome take_password(struct auth_exchange *x, struct span password)
{
    if (password.n == 0)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the password is empty");
    if (password.n > USERDB_PASSWORD_MAX || !identity_text_ok(password))
        return exchange_refuse(x, AUTH_SYNTAX,
                               "the password is too long, no UTF-8 or holds control characters");
    x->phase = PHASE_SECRET_SENT;
    if (x->resolved == IDENTITY_NO_DOMAIN) {
        x->guess = true;
        return exchange_refuse(x, AUTH_NO_BACKEND, "no such domain");
    }
    return AUTH_CONTINUE;
}

/* RFC 4616: message = [authzid] NUL authcid NUL passwd */
bool exchange_plain_parts(struct span in, struct span *name, struct span *password)
{
    size_t first = span_find(in, 0);
    struct span rest = span_from(in, first + 1);
    size_t second = span_find(rest, 0);
    if (first == in.n || second == rest.n)
        return false;
    *name = span_sub(rest, 0, second);
    *password = span_from(rest, second + 1);
    return span_find(*password, 0) == password->n;
}

static enum auth_outcome look_at_plain(struct auth_exchange *x, struct span in)
{
    struct span name, password;
    if (!exchange_plain_parts(in, &name, &password))
        return exchange_refuse(x, AUTH_SYNTAX, "PLAIN wants exactly two NULs");
    enum auth_outcome outcome = take_name(x, name);
    return outcome == AUTH_CONTINUE ? take_password(x, password) : outcome;
}

static enum auth_outcome choose_binding(struct auth_exchange *x, const struct scram_first *first)
{
    bool plus = x->mechanism == AUTH_SCRAM_SHA_256_PLUS;
    bool offered =
        (auth_snapshot_mechanisms(x->s, &x->peer.channel) & AUTH_SCRAM_SHA_256_PLUS) != 0;
    if (plus != (first->flag == 'p'))
        return exchange_refuse(x, AUTH_SYNTAX,
                               plus ? "-PLUS without a channel binding"
                                    : "a channel binding without -PLUS");
    /* RFC 5802 section 6: the client could have bound the channel and did not see our offer, so
     * somebody between us took it out of the list. */
    if (first->flag == 'y' && offered)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                               "-PLUS was offered and did not reach the client");
    buf_reset(&x->channel);
    bool ok = buf_add(&x->channel, first->gs2_header);
    for (size_t i = 0; plus && ok && i < x->peer.binding_count; i++) {
        const struct auth_binding *b = &x->peer.bindings[i];
        if (!span_is(first->binding_type, b->type))
            continue;
        x->binding = (sasl_channel_binding_t){
            .name = b->type, .critical = 1, .len = (unsigned long)b->bytes.n, .data = b->bytes.p};
        ok = buf_add(&x->channel, b->bytes);
    }
    if (plus && x->binding.name == NULL)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                               "the client's channel binding type is not ours");
    return ok ? AUTH_CONTINUE : exchange_refuse(x, AUTH_SYNTAX, "the SCRAM message is too long");
}

static enum auth_outcome look_at_scram_final(struct auth_exchange *x, struct span in)
{
    struct span channel;
    struct buf decoded;
    if (!scram_parse_final(in, &channel))
        return exchange_refuse(x, AUTH_SYNTAX, "the last SCRAM message is malformed");
    buf_init(&decoded, EXCHANGE_MESSAGE_MAX);
    bool readable = base64_decode(channel, &decoded);
    bool same = readable && secret_equal(buf_span(&decoded), buf_span(&x->channel));
    buf_deinit(&decoded);
    x->phase = PHASE_SECRET_SENT;
    if (!readable)
        return exchange_refuse(x, AUTH_SYNTAX, "the channel binding is no base64");
    if (!same)
        return exchange_refuse(
            x, AUTH_BAD_CREDENTIALS,
            "the channel binding is another than ours: is there a man in the middle?");
    x->guess = true;
    return AUTH_CONTINUE;
}

static enum auth_outcome look_at_scram(struct auth_exchange *x, struct span in)
{
    struct scram_first first;
    if (x->phase == PHASE_NAME_KNOWN)
        return look_at_scram_final(x, in);
    if (x->phase == PHASE_SECRET_SENT)
        return AUTH_CONTINUE; /* the answer to our proof: empty, and of no weight */
    if (!scram_parse_first(in, &first))
        return exchange_refuse(x, AUTH_SYNTAX, "the first SCRAM message is malformed");
    enum auth_outcome outcome = take_name(x, span_of(first.name, first.name_n));
    return outcome == AUTH_CONTINUE ? choose_binding(x, &first) : outcome;
}

enum auth_outcome exchange_look_at(struct auth_exchange *x, bool has_input, struct span in)
{
    bool nothing_yet = x->conn == NULL && !has_input;
    if (exchange_is_integrated(x)) /* only the system knows what is in it */
        return in.n <= INTEGRATED_TOKEN_MAX
                   ? AUTH_CONTINUE
                   : exchange_refuse(x, AUTH_SYNTAX, "the token is too long");
    if (in.n > EXCHANGE_MESSAGE_MAX)
        return exchange_refuse(x, AUTH_SYNTAX, "the message is too long");
    if (exchange_is_scram(x))
        return nothing_yet ? AUTH_CONTINUE : look_at_scram(x, in);
    if (x->mechanism == AUTH_PLAIN)
        return nothing_yet ? AUTH_CONTINUE : look_at_plain(x, in);
    if (x->conn == NULL && in.n == 0)
        return AUTH_CONTINUE; /* LOGIN without a name yet: libsasl2 asks for it */
    if (span_find(in, 0) != in.n)
        return exchange_refuse(x, AUTH_SYNTAX, "NUL in LOGIN");
    return x->phase == PHASE_START ? take_name(x, in) : take_password(x, in);
}
