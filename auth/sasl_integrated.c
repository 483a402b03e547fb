#include "auth/sasl_integrated.h"

#include "auth/exchange_parts.h"
#include "auth/gss_token.h"
#include "auth/ntlm_name.h"
#include "platform/integrated_auth.h"

#include <stdio.h>
#include <string.h>

/* RFC 4752 section 3.1: bit 1 = no security layer, then the largest message of one: none. */
static const uint8_t no_layer[] = {1, 0, 0, 0};
static const char ntlm_greeting[] = "NTLM supported"; /* MS-SMTPNTLM section 2.2.1.2: any text */

static bool offered(const struct auth_exchange *x, unsigned mechanism)
{
    return (auth_snapshot_mechanisms(x->s, &x->peer.channel) & mechanism) != 0;
}

/* NTLM inside of another mechanism is still NTLM: it works only where NTLM itself is offered. A
 * client that puts NTLM first has no ticket. NULL, or why not, with the outcome. */
static const char *choose_spnego(const struct auth_exchange *x, const struct gss_token *t,
                                 enum integrated_package *package, enum auth_outcome *outcome)
{
    bool ntlm = t->ntlm && offered(x, AUTH_NTLM);
    bool kerberos = t->kerberos && offered(x, AUTH_GSSAPI | AUTH_GSS_SPNEGO);
    *package =
        kerberos && !(ntlm && t->ntlm_first) ? INTEGRATED_SPNEGO_KERBEROS : INTEGRATED_SPNEGO_NTLM;
    if (kerberos || ntlm)
        return NULL;
    *outcome = t->ntlm ? AUTH_MECHANISM : AUTH_SYNTAX;
    return t->ntlm ? "the client sends NTLM in SPNEGO, and NTLM is not offered"
                   : "SPNEGO with neither Kerberos nor NTLM";
}

static const char *choose_package(const struct auth_exchange *x, struct span in,
                                  enum integrated_package *package, enum auth_outcome *outcome)
{
    struct gss_token t = gss_token_look(in);
    switch (t.kind) {
    case GSS_TOKEN_NTLM:
        *package = INTEGRATED_NTLM;
        if (offered(x, AUTH_NTLM))
            return NULL;
        *outcome = AUTH_MECHANISM;
        return "the client sends NTLM, which is not offered";
    case GSS_TOKEN_SPNEGO:
        if (x->mechanism != AUTH_NTLM)
            return choose_spnego(x, &t, package, outcome);
        break;
    case GSS_TOKEN_KERBEROS:
        *package = INTEGRATED_KERBEROS;
        if (x->mechanism == AUTH_GSSAPI)
            return NULL;
        break;
    case GSS_TOKEN_NONE: break;
    }
    *outcome = AUTH_SYNTAX;
    return "the first token is none of this mechanism";
}

static bool is_ntlm(enum integrated_package package)
{
    return package == INTEGRATED_NTLM || package == INTEGRATED_SPNEGO_NTLM;
}

enum { BINDING_MAX = EXCHANGE_BINDING_TYPE_MAX + 1 + AUTH_BINDING_BYTES_MAX };

bool exchange_is_ntlm(const struct auth_exchange *x)
{
    return x->integrated.context != NULL && is_ntlm(x->integrated.package);
}

/* RFC 5056 section 3.1: the binding's name stands before it. */
static struct span named_binding(char out[BINDING_MAX], const char *type, struct span bytes)
{
    size_t n = strlen(type);
    memcpy(out, type, n);
    out[n++] = ':';
    memcpy(out + n, bytes.p, bytes.n);
    return span_of(out, n + bytes.n);
}

/* The end-points first: most clients that bind at all bind to that. */
static bool begin(struct auth_exchange *x, enum integrated_package package)
{
    enum { ALL = AUTH_END_POINTS_MAX + AUTH_BINDINGS_MAX };
    char bytes[ALL][BINDING_MAX];
    struct span bindings[ALL];
    size_t count = 0;
    for (size_t i = 0; i < x->peer.end_point_count; i++, count++)
        bindings[count] =
            named_binding(bytes[count], "tls-server-end-point", x->peer.end_points[i]);
    for (size_t i = 0; i < x->peer.binding_count; i++, count++)
        bindings[count] =
            named_binding(bytes[count], x->peer.bindings[i].type, x->peer.bindings[i].bytes);
    x->integrated.package = package;
    x->integrated.context = integrated_begin(x->s->integrated, package, bindings, count);
    return x->integrated.context != NULL;
}

/* Who fails without a name is counted by where he is: an account of its own for each peer, since an
 * account's counter is everybody's. */
static void count_by_peer(struct auth_exchange *x)
{
    (void)snprintf(x->subject, sizeof x->subject, "?integrated\\%016llx",
                   (unsigned long long)auth_share_key(&x->peer.client));
}

/* The proof stands; exchange.c asks the allow list. */
static enum auth_outcome finish(struct auth_exchange *x)
{
    x->guess = false;
    return AUTH_OK;
}

/* DOMAIN\account, so that nothing but a configured domain can be meant. */
static enum auth_outcome take_identity(struct auth_exchange *x)
{
    const struct integrated_context *c = x->integrated.context;
    const struct auth_options *o = &x->s->options;
    int n =
        snprintf(x->name, sizeof x->name, "%s\\%s", integrated_domain(c), integrated_account(c));
    if (n < 0 || (size_t)n >= sizeof x->name)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the account's name is too long");
    x->resolved = identity_resolve(span_str(x->name), o, &x->id);
    if (x->resolved == IDENTITY_NO_DOMAIN)
        return exchange_refuse(x, AUTH_NO_BACKEND,
                               "no domain of authentication.domains has this name or realm");
    if (x->resolved != IDENTITY_OK)
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS, "the name cannot be an account");
    if (o->domains[x->id.domain].backend == AUTH_BACKEND_USERDB)
        return exchange_refuse(x, AUTH_NO_BACKEND,
                               "the domain's accounts are those of the user database");
    (void)snprintf(x->subject, sizeof x->subject, "%s", x->id.canonical);
    return AUTH_CONTINUE;
}

static bool has_layer_step(const struct auth_exchange *x)
{
    return x->mechanism == AUTH_GSSAPI && integrated_can_wrap(x->integrated.context);
}

static enum auth_outcome offer_layer(struct auth_exchange *x)
{
    x->integrated.phase = INTEGRATED_PHASE_LAYER;
    return integrated_wrap(x->integrated.context, span_of(no_layer, sizeof no_layer),
                           &x->integrated.reply)
               ? AUTH_CONTINUE
               : exchange_refuse(x, AUTH_UNAVAILABLE, "cannot protect the layer step");
}

static enum auth_outcome handshake_done(struct auth_exchange *x)
{
    enum auth_outcome outcome = take_identity(x);
    if (outcome != AUTH_CONTINUE)
        return outcome;
    /* RFC 4752 section 3.1: without a token of ours (the client asked for no mutual authentication,
     * as curl does) the layer step follows at once. */
    if (x->integrated.reply.n > 0 || (!has_layer_step(x) && !x->integrated.challenged)) {
        x->integrated.phase = INTEGRATED_PHASE_LAST;
        return AUTH_CONTINUE;
    }
    return has_layer_step(x) ? offer_layer(x) : finish(x);
}

/* Whose wrong password it will be if it is one: that account of the domain that is named, or of the
 * first that this machine has joined, which is asked where the client names none or its own. */
static const struct auth_domain *find_suspect(struct auth_exchange *x, struct span in,
                                              struct identity *who)
{
    const struct auth_options *o = &x->s->options;
    struct ntlm_name n;
    char name[2 * NTLM_NAME_MAX];
    if (!is_ntlm(x->integrated.package) || !ntlm_name_look(in, &n))
        return NULL;
    (void)snprintf(name, sizeof name, "%s%s%s", n.domain, n.domain[0] != 0 ? "\\" : "", n.account);
    (void)snprintf(x->name, sizeof x->name, "%s", name);
    bool found = (n.domain[0] != 0 || strchr(n.account, '@') != NULL) &&
                 identity_resolve(span_str(name), o, who) == IDENTITY_OK &&
                 o->domains[who->domain].backend != AUTH_BACKEND_USERDB;
    for (size_t i = 0; !found && i < o->domain_count; i++) {
        const struct auth_domain *d = &o->domains[i];
        if (d->backend == AUTH_BACKEND_USERDB || identity_is_local(d, o))
            continue;
        int account_n = (int)strcspn(n.account, "@");
        (void)snprintf(name, sizeof name, "%.*s\\%.*s", NTLM_NAME_MAX - 1, d->name, account_n,
                       n.account);
        found = identity_resolve(span_str(name), o, who) == IDENTITY_OK;
    }
    return found ? &o->domains[who->domain] : NULL;
}

static enum lockout_answer answer_of(enum integrated_result result)
{
    switch (result) {
    case INTEGRATED_DONE: return LOCKOUT_RIGHT;
    case INTEGRATED_REFUSED:
    case INTEGRATED_GUEST: return LOCKOUT_WRONG_PROOF;
    case INTEGRATED_CONTINUE:
    case INTEGRATED_MALFORMED:
    case INTEGRATED_UNAVAILABLE: break;
    }
    return LOCKOUT_NO_ANSWER;
}

/* NTLM's wrong passwords count in the domain like others, so they are held back like others. What
 * is remembered as proved is the address: an NTLM answer is another one each time. */
static enum auth_outcome step_guarded(struct auth_exchange *x, struct span in,
                                      enum integrated_result *result,
                                      char reason[INTEGRATED_REASON_MAX])
{
    struct identity who;
    const struct auth_domain *d = find_suspect(x, in, &who);
    uint8_t from[13] = "\0NTLM"; /* no password begins so */
    const uint64_t key = auth_share_key(&x->peer.client);
    memcpy(from + 5, &key, sizeof key);
    const struct span proof = span_of(from, sizeof from);
    if (d != NULL) {
        switch (auth_lockout_ask(x->auth, d, who.canonical, proof)) {
        case LOCKOUT_ASK: break;
        case LOCKOUT_WAIT:
            return exchange_refuse(x, AUTH_UNAVAILABLE,
                                   "other passwords of this account are still being tried");
        case LOCKOUT_KNOWN_WRONG: /* never told for this kind of proof */
        case LOCKOUT_HELD_BACK:
            return exchange_refuse(x, AUTH_THROTTLED,
                                   "too many wrong passwords for this account: its domain is not "
                                   "asked for a while, so that it is not locked there");
        }
    }
    *result = integrated_step(x->integrated.context, in, &x->integrated.reply, reason);
    if (d != NULL)
        auth_lockout_tell(x->auth, d, who.canonical, proof, answer_of(*result));
    return AUTH_CONTINUE;
}

static enum auth_outcome handshake(struct auth_exchange *x, struct span in)
{
    char reason[INTEGRATED_REASON_MAX] = "";
    enum integrated_result result = INTEGRATED_UNAVAILABLE;
    if (step_guarded(x, in, &result, reason) != AUTH_CONTINUE)
        return x->verdict;
    switch (result) {
    case INTEGRATED_CONTINUE:
        x->integrated.phase = INTEGRATED_PHASE_HANDSHAKE;
        return AUTH_CONTINUE;
    case INTEGRATED_DONE: return handshake_done(x);
    case INTEGRATED_REFUSED:
    case INTEGRATED_GUEST: x->guess = true; return exchange_refuse(x, AUTH_BAD_CREDENTIALS, reason);
    case INTEGRATED_MALFORMED: return exchange_refuse(x, AUTH_SYNTAX, reason);
    case INTEGRATED_UNAVAILABLE: break;
    }
    return exchange_refuse(x, AUTH_UNAVAILABLE, reason);
}

static enum auth_outcome first_token(struct auth_exchange *x, struct span in)
{
    enum integrated_package package = INTEGRATED_KERBEROS;
    if (in.n == 0 && !x->integrated.challenged) {
        if (x->mechanism == AUTH_NTLM)
            (void)buf_add_str(&x->integrated.reply, ntlm_greeting);
        return AUTH_CONTINUE;
    }
    enum auth_outcome outcome = AUTH_CONTINUE;
    const char *why_not = choose_package(x, in, &package, &outcome);
    if (why_not != NULL)
        return exchange_refuse(x, outcome, why_not);
    count_by_peer(x);
    /* A ticket cannot be guessed at: whoever brings one need not wait for what others behind the
     * same address do. */
    if (is_ntlm(package) && auth_throttle_check(x->auth, &x->peer.client, x->subject).refuse)
        return exchange_refuse(x, AUTH_THROTTLED, "too many wrong passwords from this address");
    if (!begin(x, package))
        return exchange_refuse(x, AUTH_UNAVAILABLE, "no memory");
    return handshake(x, in);
}

/* The authorization identity may be left out; else it is the very account that has proved itself,
 * in any of its spellings, or without its domain. */
static bool is_himself(const struct auth_exchange *x, struct span wanted)
{
    struct identity id;
    if (wanted.n == 0 || span_is_nocase(wanted, x->id.account))
        return true;
    return identity_resolve(wanted, &x->s->options, &id) == IDENTITY_OK &&
           strcmp(id.canonical, x->id.canonical) == 0;
}

/* RFC 4752 section 3.1: the client's choice, its largest message, its authorization identity. */
static enum auth_outcome take_layer(struct auth_exchange *x, struct span in)
{
    if (!integrated_unwrap(x->integrated.context, in, &x->integrated.reply)) {
        x->guess = true;
        return exchange_refuse(x, AUTH_BAD_CREDENTIALS,
                               "the layer step was not made with the key of the ticket");
    }
    struct span choice = buf_span(&x->integrated.reply);
    if (choice.n < sizeof no_layer)
        return exchange_refuse(x, AUTH_SYNTAX, "the layer step is too short");
    if (choice.p[0] != no_layer[0])
        return exchange_refuse(x, AUTH_SYNTAX,
                               "the client wants a security layer; SMTP has TLS for that");
    if (!is_himself(x, span_from(choice, sizeof no_layer)))
        return exchange_refuse(
            x, AUTH_BAD_CREDENTIALS,
            "the authorization identity is another than the authentication identity");
    return finish(x);
}

static enum auth_outcome one_step(struct auth_exchange *x, struct span in)
{
    if (x->integrated.phase != INTEGRATED_PHASE_LAYER)
        buf_reset(&x->integrated.reply);
    switch (x->integrated.phase) {
    case INTEGRATED_PHASE_TOKEN: return first_token(x, in);
    case INTEGRATED_PHASE_HANDSHAKE: return handshake(x, in);
    case INTEGRATED_PHASE_LAST:
        if (in.n > 0)
            return exchange_refuse(x, AUTH_SYNTAX, "an answer to the last token");
        return has_layer_step(x) ? offer_layer(x) : finish(x);
    case INTEGRATED_PHASE_LAYER: return take_layer(x, in);
    }
    return exchange_refuse(x, AUTH_UNAVAILABLE, "a phase that there is not");
}

unsigned exchange_integrated_lane(const struct auth_exchange *x, struct span in)
{
    enum integrated_package package = INTEGRATED_KERBEROS;
    enum auth_outcome outcome;
    switch (x->integrated.phase) {
    case INTEGRATED_PHASE_TOKEN:
        return choose_package(x, in, &package, &outcome) == NULL && is_ntlm(package)
                   ? BACKEND_LANE_INTEGRATED
                   : 0;
    case INTEGRATED_PHASE_HANDSHAKE:
        return is_ntlm(x->integrated.package) ? BACKEND_LANE_INTEGRATED_ANSWER : 0;
    case INTEGRATED_PHASE_LAST:
        if (has_layer_step(x))
            return 0;
        break;
    case INTEGRATED_PHASE_LAYER: break;
    }
    return exchange_groups(x) != NULL ? x->s->backends.entries[x->id.domain]->lane : 0;
}

void exchange_integrated_end(struct auth_exchange *x)
{
    integrated_end(&x->integrated.context);
    buf_deinit(&x->integrated.reply);
}

/* ---- libsasl2's side ---- */

/* libsasl2 gives the call-backs of this connection; each of them carries its exchange. */
static int mech_new(void *global, sasl_server_params_t *params, const char *challenge,
                    unsigned challenge_n, void **context)
{
    const void *found = NULL;
    (void)global, (void)challenge, (void)challenge_n;
    if (params->utils->getprop(params->utils->conn, SASL_CALLBACK, &found) != SASL_OK ||
        found == NULL)
        return SASL_FAIL;
    *context = ((const sasl_callback_t *)found)->context;
    return SASL_OK;
}

static int mech_step(void *context, sasl_server_params_t *params, const char *in, unsigned in_n,
                     const char **out, unsigned *out_n, sasl_out_params_t *oparams)
{
    struct auth_exchange *x = context;
    *out = NULL; /* with anything else libsasl2 would add a challenge of its own to a success */
    *out_n = 0;
    enum auth_outcome outcome = one_step(x, span_of(in, in == NULL ? 0 : in_n));
    if (outcome == AUTH_CONTINUE) {
        struct span reply = buf_span(&x->integrated.reply);
        x->integrated.challenged = true;
        *out = reply.n > 0 ? (const char *)reply.p : "";
        *out_n = (unsigned)reply.n;
        return SASL_CONTINUE;
    }
    if (outcome != AUTH_OK)
        return SASL_BADAUTH; /* exchange_refuse has kept what it really was */
    int code = params->canon_user(params->utils->conn, x->name, 0, SASL_CU_AUTHID | SASL_CU_AUTHZID,
                                  oparams);
    oparams->doneflag = code == SASL_OK ? 1 : 0;
    return code;
}

static void mech_dispose(void *context, const sasl_utils_t *utils)
{
    (void)context, (void)utils; /* the exchange lives longer and ends it */
}

#define PLUG(name, first)                                                                          \
    {                                                                                              \
        .mech_name = (name), .security_flags = SASL_SEC_NOPLAINTEXT | SASL_SEC_NOANONYMOUS,        \
        .features = (first), .mech_new = mech_new, .mech_step = mech_step,                         \
        .mech_dispose = mech_dispose                                                               \
    }

int sasl_integrated_plugin_init(const sasl_utils_t *utils, int max_version, int *out_version,
                                sasl_server_plug_t **plugins, int *count)
{
    /* libsasl2 asks for them writable. NTLM greets when the client brings nothing. */
    static sasl_server_plug_t table[] = {
        PLUG("GSSAPI", SASL_FEAT_WANT_CLIENT_FIRST | SASL_FEAT_ALLOWS_PROXY),
        PLUG("GSS-SPNEGO", SASL_FEAT_WANT_CLIENT_FIRST),
        PLUG("NTLM", 0),
    };
    (void)utils;
    if (max_version < SASL_SERVER_PLUG_VERSION)
        return SASL_BADVERS;
    *out_version = SASL_SERVER_PLUG_VERSION;
    *plugins = table;
    *count = (int)(sizeof table / sizeof *table);
    return SASL_OK;
}
