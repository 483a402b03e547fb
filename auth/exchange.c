#include "auth/exchange_parts.h"

#include "auth/sasl_integrated.h"
#include "auth/scram.h"
#include "platform/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum auth_outcome exchange_refuse(struct auth_exchange *x, enum auth_outcome outcome,
                                  const char *reason)
{
    x->verdict = outcome;
    (void)snprintf(x->reason, sizeof x->reason, "%s", reason);
    return outcome;
}

bool exchange_is_scram(const struct auth_exchange *x)
{
    return (x->mechanism & (AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)) != 0;
}

bool exchange_is_integrated(const struct auth_exchange *x)
{
    return (x->mechanism & AUTH_MECHANISMS_INTEGRATED) != 0;
}

static void copy_bindings(struct auth_exchange *x, const struct auth_peer *peer)
{
    x->peer.binding_count = 0;
    for (size_t i = 0; i < peer->binding_count && i < AUTH_BINDINGS_MAX; i++) {
        const struct auth_binding *b = &peer->bindings[i];
        size_t k = x->peer.binding_count;
        if (b->bytes.n == 0 || b->bytes.n > AUTH_BINDING_BYTES_MAX ||
            !span_cstr(span_str(b->type), x->binding_types[k], EXCHANGE_BINDING_TYPE_MAX))
            continue; /* one that we cannot use is one that is not there */
        memcpy(x->binding_bytes[k], b->bytes.p, b->bytes.n);
        x->peer.bindings[k] =
            (struct auth_binding){x->binding_types[k], span_of(x->binding_bytes[k], b->bytes.n)};
        x->peer.binding_count++;
    }
    if (x->peer.binding_count == 0)
        x->peer.channel.channel_binding = false;
    x->peer.end_point_count = 0;
    for (size_t i = 0; i < peer->end_point_count && i < AUTH_END_POINTS_MAX; i++) {
        struct span p = peer->end_points[i];
        uint8_t *copy = x->end_point_bytes[x->peer.end_point_count];
        if (p.n == 0 || p.n > AUTH_BINDING_BYTES_MAX)
            continue;
        memcpy(copy, p.p, p.n);
        x->peer.end_points[x->peer.end_point_count++] = span_of(copy, p.n);
    }
}

bool auth_exchange_new(struct auth *a, const struct auth_peer *peer, struct span mechanism,
                       struct auth_exchange **out, struct err *e)
{
    struct auth_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    x->peer = *peer;
    copy_bindings(x, peer);
    x->mechanism = auth_mechanism_parse(mechanism);
    x->verdict = AUTH_CONTINUE;
    buf_init(&x->channel, EXCHANGE_MESSAGE_MAX);
    buf_init(&x->integrated.reply, INTEGRATED_TOKEN_MAX);
    x->auth = a;
    x->s = auth_hold(a);
    *out = x;
    return true;
}

void auth_exchange_free(struct auth_exchange **x)
{
    if (x == NULL || *x == NULL)
        return;
    if ((*x)->conn != NULL)
        sasl_dispose(&(*x)->conn);
    exchange_integrated_end(*x);
    secret_wipe(&(*x)->password);
    buf_deinit(&(*x)->channel);
    auth_release((*x)->auth, (*x)->s);
    free(*x);
    *x = NULL;
}

/* libsasl2's word, where no call-back has said anything more exact. */
static enum auth_outcome refusal_of(struct auth_exchange *x, int code)
{
    if (x->verdict != AUTH_CONTINUE)
        return x->verdict;
    if (code == SASL_BADAUTH && exchange_is_scram(x))
        return exchange_refuse_proof(x);
    (void)snprintf(x->reason, sizeof x->reason, "%.200s", sasl_errdetail(x->conn));
    switch (code) {
    case SASL_BADAUTH:
    case SASL_BADMAC:
    case SASL_NOAUTHZ:
    case SASL_BADBINDING:
    case SASL_NOUSER: return x->verdict = AUTH_BAD_CREDENTIALS;
    case SASL_BADPROT:
    case SASL_BADPARAM: x->guess = false; return x->verdict = AUTH_SYNTAX;
    case SASL_NOMECH:
    case SASL_TOOWEAK:
    case SASL_ENCRYPT: return x->verdict = AUTH_MECHANISM;
    default: return x->verdict = AUTH_UNAVAILABLE;
    }
}

/* Between the two messages of SCRAM the account may have been changed or disabled. */
static enum auth_outcome still_valid(struct auth_exchange *x)
{
    struct scram_verifier v;
    uint64_t version = x->version;
    if (x->found != BACKEND_OK)
        return exchange_refuse_proof(x); /* cannot be: nobody can prove a decoy */
    if (!exchange_verifier(x, &v))
        return AUTH_UNAVAILABLE;
    secret_wipe_bytes(&v, sizeof v);
    return x->found == BACKEND_OK && version == x->version
               ? AUTH_OK
               : exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the account was changed meanwhile");
}

/* An account that has proved itself without a password of its domain; its groups are looked up. */
static enum auth_outcome member_of_allowed(struct auth_exchange *x,
                                           const struct backend_groups *groups)
{
    char reason[BACKEND_REASON_MAX] = BACKEND_REASON_NOT_LISTED;
    if (groups->count == 0)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS, reason);
    switch (backends_member(x->s->backends.entries[x->id.domain], x->id.account, groups, reason)) {
    case BACKEND_OK: return AUTH_OK;
    case BACKEND_BUSY:
    case BACKEND_UNAVAILABLE: return exchange_refuse(x, AUTH_UNAVAILABLE, reason);
    case BACKEND_BAD_PASSWORD:
    case BACKEND_NO_ACCOUNT:
    case BACKEND_DISABLED:
    case BACKEND_NOT_ALLOWED:
    case BACKEND_GUEST:
    case BACKEND_UNSUPPORTED: break;
    }
    return exchange_refuse(x, AUTH_BAD_CREDENTIALS, reason);
}

const struct backend_groups *exchange_groups(const struct auth_exchange *x)
{
    size_t entry;
    return identity_allowed(&x->id, &x->s->options, &entry) == IDENTITY_ONLY_BY_GROUP
               ? &x->s->groups[x->id.domain]
               : NULL;
}

/* SCRAM is for accounts of the user database, which has no groups. Asked when the proof was right,
 * and before ours goes out, so that it looks like a wrong one. */
static bool is_listed(struct auth_exchange *x)
{
    if (x->found != BACKEND_OK || exchange_groups(x) == NULL)
        return true;
    exchange_refuse(x, AUTH_BAD_CREDENTIALS, BACKEND_REASON_NOT_LISTED);
    return false;
}

/* Only once everything is proved, so that nobody learns from it who is on the list. A password's
 * backend has answered for the groups together with the password (exchange_sasl.c). */
static enum auth_outcome allowed(struct auth_exchange *x)
{
    const struct backend_groups *groups = exchange_groups(x);
    if (groups == NULL || x->member)
        return AUTH_OK;
    x->guess = !exchange_is_integrated(x); /* a password may have been guessed, a ticket not */
    return member_of_allowed(x, groups);
}

static enum auth_outcome run(struct auth_exchange *x, bool has_input, struct span in,
                             struct span *challenge)
{
    if ((auth_snapshot_mechanisms(x->s, &x->peer.channel) & x->mechanism) == 0)
        return exchange_refuse(x, AUTH_MECHANISM, "that mechanism is not offered here");
    enum auth_outcome outcome = exchange_look_at(x, has_input, in);
    if (outcome != AUTH_CONTINUE)
        return outcome;
    bool first = x->conn == NULL;
    if (first && !exchange_connect(x))
        return exchange_refuse(x, AUTH_UNAVAILABLE, "libsasl2: cannot make a connection");
    if (x->binding.name != NULL &&
        sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->binding) != SASL_OK)
        return exchange_refuse(x, AUTH_UNAVAILABLE, "libsasl2: does not take the channel binding");
    const char *text = in.n > 0 ? (const char *)in.p : "", *reply = NULL;
    unsigned reply_n = 0;
    int code;
    if (first) {
        bool login_asks = x->mechanism == AUTH_LOGIN && in.n == 0;
        code = sasl_server_start(x->conn, auth_mechanism_name((enum auth_mechanism)x->mechanism),
                                 has_input && !login_asks ? text : NULL,
                                 has_input ? (unsigned)in.n : 0, &reply, &reply_n);
    } else {
        code = sasl_server_step(x->conn, text, (unsigned)in.n, &reply, &reply_n);
    }
    if (code == SASL_CONTINUE) {
        if (exchange_is_scram(x) && x->phase == PHASE_SECRET_SENT && !is_listed(x))
            return x->verdict;
        *challenge = span_of(reply, reply_n);
        return AUTH_CONTINUE;
    }
    if (code != SASL_OK)
        return refusal_of(x, code);
    if (x->verdict != AUTH_CONTINUE) /* a call-back refused; libsasl2 must not overrule it */
        return x->verdict;
    outcome = exchange_is_scram(x) ? still_valid(x) : AUTH_OK;
    return outcome == AUTH_OK ? allowed(x) : outcome;
}

/* When a refusal may be told, in microseconds: now, or at the instant that all of its backend's
 * have in common. */
static uint64_t refusal_at_us(struct auth_exchange *x, enum auth_outcome outcome, uint64_t began_us)
{
    uint64_t now_us = clock_monotonic_us();
    if (outcome == AUTH_BAD_CREDENTIALS && exchange_is_ntlm(x))
        return began_us + refusal_pace_us(&x->s->ntlm_pace, now_us - began_us);
    if (outcome != AUTH_BAD_CREDENTIALS || x->resolved != IDENTITY_OK ||
        (x->mechanism & AUTH_MECHANISMS_BASIC) == 0)
        return now_us;
    struct backend_entry *entry = x->s->backends.entries[x->id.domain];
    if (entry == x->s->backends.userdb)
        return now_us;
    return began_us + refusal_pace_us(&entry->pace, now_us - began_us);
}

void auth_exchange_step(struct auth_exchange *x, bool has_input, struct span in,
                        struct auth_step *out)
{
    *out = (struct auth_step){.identity = "", .name = x->name, .reason = x->reason};
    if (x->over) {
        out->outcome = x->verdict == AUTH_OK ? AUTH_SYNTAX : x->verdict;
        return;
    }
    uint64_t began_us = clock_monotonic_us();
    out->outcome = run(x, has_input, in, &out->challenge);
    if (out->outcome == AUTH_CONTINUE)
        return;
    x->over = true;
    if (out->outcome == AUTH_OK) {
        x->verdict = AUTH_OK;
        x->reason[0] = 0;
        out->identity = x->id.canonical;
        auth_throttle_succeeded(x->auth, &x->peer.client, x->subject);
    } else if (out->outcome == AUTH_THROTTLED) {
        out->delay_ms = auth_throttle_delay_ms(x->auth);
    } else if (x->guess &&
               (out->outcome == AUTH_BAD_CREDENTIALS || out->outcome == AUTH_NO_BACKEND)) {
        out->delay_ms =
            auth_throttle_failed(x->auth, &x->peer.client, x->subject, secret_span(&x->password))
                .delay_ms;
    }
    if (out->outcome != AUTH_OK)
        out->reply_at_ms = (refusal_at_us(x, out->outcome, began_us) + 999) / 1000 + out->delay_ms;
    secret_wipe(&x->password);
}

/* The domain whose backend the step asks: a password goes to the one that the name names. */
static bool asks_domain(const struct auth_exchange *x, bool has_input, struct span in,
                        size_t *domain)
{
    struct span name, password;
    struct identity id;
    if (x->mechanism == AUTH_LOGIN && x->phase == PHASE_NAME_KNOWN && x->resolved == IDENTITY_OK) {
        *domain = x->id.domain;
        return true;
    }
    if (x->mechanism != AUTH_PLAIN || !has_input || !exchange_plain_parts(in, &name, &password) ||
        identity_resolve(name, &x->s->options, &id) != IDENTITY_OK)
        return false;
    *domain = id.domain;
    return true;
}

static uint32_t patience(uint32_t deadline_ms)
{
    return deadline_ms + 500 < AUTH_ANSWER_MS ? AUTH_ANSWER_MS - deadline_ms : 500;
}

unsigned auth_exchange_lane(const struct auth_exchange *x, bool has_input, struct span in,
                            uint32_t *patience_ms)
{
    size_t domain;
    unsigned lane = 0;
    uint32_t deadline_ms = AUTH_DEADLINE_DEFAULT_MS;
    if (!x->over && exchange_is_integrated(x)) {
        lane = exchange_integrated_lane(x, in);
    } else if (!x->over && asks_domain(x, has_input, in, &domain)) {
        lane = x->s->backends.entries[domain]->lane;
        deadline_ms = x->s->options.domains[domain].deadline_ms;
    }
    *patience_ms = lane == 0 ? 0 : patience(deadline_ms);
    return lane;
}
