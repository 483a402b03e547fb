#include "auth/exchange.h"

#include "auth/sasl_library.h"
#include "auth/sasl_userdb.h"
#include "auth/scram.h"
#include "auth/userdb.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_MAX = 4096, /* of one response; the longest good one is far shorter */
    NAME_MAX_BYTES = 2 * IDENTITY_ACCOUNT_MAX,
    REASON_MAX = 256,
    BINDING_TYPE_MAX = 32,
    CALLBACKS = 6,
};

/* Where a SCRAM exchange stands; what libsasl2 checks we check too, and some of it it does not. */
enum phase { PHASE_START, PHASE_NAME_KNOWN, PHASE_SECRET_SENT };

struct auth_exchange {
    struct auth *auth;
    struct auth_snapshot *s;
    struct auth_peer peer;
    char binding_types[AUTH_BINDINGS_MAX][BINDING_TYPE_MAX];
    uint8_t binding_bytes[AUTH_BINDINGS_MAX][AUTH_BINDING_BYTES_MAX];
    unsigned mechanism; /* one bit; 0 = one that we do not know */
    sasl_conn_t *conn;
    sasl_callback_t callbacks[CALLBACKS];
    sasl_channel_binding_t binding; /* the one that the client chose */

    enum phase phase;
    bool over;
    bool guess;                /* a password was tried: a failure counts */
    enum auth_outcome verdict; /* what we or a call-back found out; AUTH_CONTINUE = nothing yet */
    char reason[REASON_MAX];
    char name[NAME_MAX_BYTES + 1]; /* as the client gave it */
    enum identity_result resolved;
    struct identity id;
    char subject[IDENTITY_CANONICAL_MAX + NAME_MAX_BYTES]; /* whom the throttle counts */
    struct secret password; /* PLAIN and LOGIN: until the failure has been counted */
    struct buf channel;     /* SCRAM: what "c=" has to say, RFC 5802 section 7 cbind-input */
    /* SCRAM: what was found for the verifier that was handed out. It is told only after the proof
     * has failed: until then an unknown account must fare as a known one does. */
    enum backend_result found;
    char found_reason[BACKEND_REASON_MAX];
    uint64_t version;
};

static enum auth_outcome refuse(struct auth_exchange *x, enum auth_outcome outcome,
                                const char *reason)
{
    x->verdict = outcome;
    (void)snprintf(x->reason, sizeof x->reason, "%s", reason);
    return outcome;
}

static bool is_scram(const struct auth_exchange *x)
{
    return (x->mechanism & (AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)) != 0;
}

bool auth_exchange_new(struct auth *a, const struct auth_peer *peer, struct span mechanism,
                       struct auth_exchange **out, struct err *e)
{
    struct auth_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return err_set(e, ERR_TEMP, "authentication: no memory");
    x->peer = *peer;
    x->peer.binding_count = 0;
    for (size_t i = 0; i < peer->binding_count && i < AUTH_BINDINGS_MAX; i++) {
        const struct auth_binding *b = &peer->bindings[i];
        size_t k = x->peer.binding_count;
        if (b->bytes.n == 0 || b->bytes.n > AUTH_BINDING_BYTES_MAX ||
            !span_cstr(span_str(b->type), x->binding_types[k], BINDING_TYPE_MAX))
            continue; /* one that we cannot use is one that is not there */
        memcpy(x->binding_bytes[k], b->bytes.p, b->bytes.n);
        x->peer.bindings[k] =
            (struct auth_binding){x->binding_types[k], span_of(x->binding_bytes[k], b->bytes.n)};
        x->peer.binding_count++;
    }
    if (x->peer.binding_count == 0)
        x->peer.channel.channel_binding = false;
    x->mechanism = auth_mechanism_parse(mechanism);
    x->verdict = AUTH_CONTINUE;
    buf_init(&x->channel, MESSAGE_MAX);
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
    secret_wipe(&(*x)->password);
    buf_deinit(&(*x)->channel);
    auth_release((*x)->auth, (*x)->s);
    free(*x);
    *x = NULL;
}

/* --- what libsasl2 asks us ------------------------------------------------------------------- */

static const char *base_mechanism(const struct auth_exchange *x)
{
    return auth_mechanism_name(x->mechanism == AUTH_SCRAM_SHA_256_PLUS
                                   ? AUTH_SCRAM_SHA_256
                                   : (enum auth_mechanism)x->mechanism);
}

static int get_option(void *context, const char *plugin, const char *option, const char **result,
                      unsigned *length)
{
    const struct auth_exchange *x = context;
    (void)plugin;
    if (strcmp(option, "mech_list") == 0)
        *result = base_mechanism(x);
    else if (strcmp(option, "auxprop_plugin") == 0)
        *result = SASL_USERDB_PLUGIN;
    else if (strcmp(option, "pwcheck_method") == 0)
        *result = "none"; /* the call-back below is the only way; there is no method of this name */
    else
        return SASL_FAIL;
    if (length != NULL)
        *length = (unsigned)strlen(*result);
    return SASL_OK;
}

static int put_text(const char *text, char *out, unsigned out_max, unsigned *out_n)
{
    size_t n = strlen(text);
    if (n >= out_max)
        return SASL_BUFOVER;
    memcpy(out, text, n + 1);
    *out_n = (unsigned)n;
    return SASL_OK;
}

/* Every name becomes its canonical form. The authentication identity must be the very name that we
 * read in the message ourselves: two parsers that disagree are an attack. */
static int canonical_user(sasl_conn_t *conn, void *context, const char *in, unsigned in_n,
                          unsigned flags, const char *realm, char *out, unsigned out_max,
                          unsigned *out_n)
{
    struct auth_exchange *x = context;
    struct span name = span_of(in, in_n);
    (void)conn, (void)realm;
    if ((flags & SASL_CU_AUTHID) != 0) {
        if (!span_is(name, x->name)) {
            refuse(x, AUTH_SYNTAX, "the mechanism's message can be read in two ways");
            return SASL_BADPROT;
        }
        return put_text(x->resolved == IDENTITY_OK ? x->id.canonical : x->name, out, out_max,
                        out_n);
    }
    struct identity other;
    const struct auth_options *o = &x->s->options;
    if (identity_resolve(name, o->domains, o->domain_count, o->basic.default_domain, &other) ==
        IDENTITY_OK)
        return put_text(other.canonical, out, out_max, out_n);
    refuse(x, AUTH_BAD_CREDENTIALS, "the authorization identity is no name of ours");
    return SASL_NOAUTHZ;
}

/* Nobody acts for somebody else. */
static int proxy_policy(sasl_conn_t *conn, void *context, const char *wanted, unsigned wanted_n,
                        const char *proved, unsigned proved_n, const char *realm, unsigned realm_n,
                        struct propctx *properties)
{
    struct auth_exchange *x = context;
    (void)conn, (void)realm, (void)realm_n, (void)properties;
    if (span_equal(span_of(wanted, wanted_n), span_of(proved, proved_n)))
        return SASL_OK;
    refuse(x, AUTH_BAD_CREDENTIALS,
           "the authorization identity is another than the authentication identity");
    return SASL_NOAUTHZ;
}

/* The outcome of a password check; any other code than SASL_OK is lost in libsasl2, so it is kept
 * in x->verdict. */
static enum auth_outcome outcome_of(struct auth_exchange *x, enum backend_result result,
                                    const char *reason)
{
    switch (result) {
    case BACKEND_OK: return AUTH_OK;
    case BACKEND_BAD_PASSWORD:
    case BACKEND_NO_ACCOUNT:
    case BACKEND_DISABLED:
    case BACKEND_GUEST: x->guess = true; return refuse(x, AUTH_BAD_CREDENTIALS, reason);
    case BACKEND_UNSUPPORTED: return refuse(x, AUTH_NO_BACKEND, reason);
    case BACKEND_UNAVAILABLE: break;
    }
    return refuse(x, AUTH_UNAVAILABLE, reason);
}

static int check_password(sasl_conn_t *conn, void *context, const char *user, const char *password,
                          unsigned password_n, struct propctx *properties)
{
    struct auth_exchange *x = context;
    (void)conn, (void)user, (void)properties;
    struct span given = span_of(password, password_n);
    struct auth_backend *backend = auth_snapshot_backend(x->s, x->id.domain);
    char reason[BACKEND_REASON_MAX] = "";
    if (backend == NULL) {
        refuse(x, AUTH_UNAVAILABLE, "this build has no backend for that domain");
        return SASL_UNAVAIL;
    }
    if (!secret_set(&x->password, given)) {
        refuse(x, AUTH_UNAVAILABLE, "no memory");
        return SASL_NOMEM;
    }
    enum backend_result result = backend->ops->verify(backend, x->id.account, given, reason);
    return outcome_of(x, result, reason) == AUTH_OK ? SASL_OK : SASL_BADAUTH;
}

bool exchange_wants_verifier(const struct auth_exchange *x)
{
    return is_scram(x);
}

bool exchange_verifier(struct auth_exchange *x, struct scram_verifier *v)
{
    struct auth_backend *userdb = x->s->userdb->backend;
    bool ours = x->resolved == IDENTITY_OK && auth_snapshot_backend(x->s, x->id.domain) == userdb;
    /* x->subject holds a backslash, so it names no account of the user database and gets a decoy.
     */
    x->found_reason[0] = 0;
    x->found = userdb->ops->lookup_verifier(userdb, ours ? x->id.account : x->subject, v,
                                            &x->version, x->found_reason);
    if (x->found != BACKEND_UNAVAILABLE && x->found != BACKEND_UNSUPPORTED)
        return true;
    refuse(x, AUTH_UNAVAILABLE, x->found_reason);
    return false;
}

/* Why a proof could not be right, or that it was wrong. */
static enum auth_outcome refuse_proof(struct auth_exchange *x)
{
    if (x->resolved != IDENTITY_OK)
        return refuse(x, AUTH_NO_BACKEND, "no such domain");
    if (x->s->options.domains[x->id.domain].backend != AUTH_BACKEND_USERDB)
        return refuse(x, AUTH_BAD_CREDENTIALS, "the domain's backend cannot do SCRAM");
    return refuse(x, AUTH_BAD_CREDENTIALS,
                  x->found != BACKEND_OK ? x->found_reason : "wrong password");
}

/* --- what we look at before libsasl2 does ---------------------------------------------------- */

/* AUTH_CONTINUE = go on. From here on the throttle has its say. */
static enum auth_outcome take_name(struct auth_exchange *x, struct span name)
{
    const struct auth_options *o = &x->s->options;
    if (name.n > NAME_MAX_BYTES || !span_cstr(name, x->name, sizeof x->name))
        return refuse(x, AUTH_SYNTAX, "the name is too long or holds a NUL");
    x->resolved =
        identity_resolve(name, o->domains, o->domain_count, o->basic.default_domain, &x->id);
    switch (x->resolved) {
    case IDENTITY_EMPTY: return refuse(x, AUTH_BAD_CREDENTIALS, "the name is empty");
    case IDENTITY_MALFORMED: return refuse(x, AUTH_SYNTAX, "the name is malformed");
    case IDENTITY_OK: (void)snprintf(x->subject, sizeof x->subject, "%s", x->id.canonical); break;
    case IDENTITY_NO_DOMAIN:
        (void)snprintf(x->subject, sizeof x->subject, "?\\%s", x->name);
        ascii_lower_str(x->subject);
        break;
    }
    x->phase = PHASE_NAME_KNOWN;
    if (auth_throttle_check(x->auth, &x->peer.client, x->subject).refuse)
        return refuse(x, AUTH_THROTTLED, "too many wrong passwords from this address");
    return AUTH_CONTINUE;
}

static enum auth_outcome take_password(struct auth_exchange *x, struct span password)
{
    if (password.n == 0)
        return refuse(x, AUTH_BAD_CREDENTIALS, "the password is empty");
    if (password.n > USERDB_PASSWORD_MAX || !identity_text_ok(password))
        return refuse(x, AUTH_SYNTAX,
                      "the password is too long, no UTF-8 or holds control characters");
    x->phase = PHASE_SECRET_SENT;
    if (x->resolved == IDENTITY_NO_DOMAIN) {
        x->guess = true;
        return refuse(x, AUTH_NO_BACKEND, "no such domain");
    }
    return AUTH_CONTINUE;
}

/* RFC 4616: message = [authzid] NUL authcid NUL passwd */
static enum auth_outcome look_at_plain(struct auth_exchange *x, struct span in)
{
    size_t first = span_find(in, 0);
    struct span rest = span_from(in, first + 1);
    size_t second = span_find(rest, 0);
    struct span password = span_from(rest, second + 1);
    if (first == in.n || second == rest.n || span_find(password, 0) != password.n)
        return refuse(x, AUTH_SYNTAX, "PLAIN wants exactly two NULs");
    enum auth_outcome outcome = take_name(x, span_sub(rest, 0, second));
    return outcome == AUTH_CONTINUE ? take_password(x, password) : outcome;
}

static enum auth_outcome choose_binding(struct auth_exchange *x, const struct scram_first *first)
{
    bool plus = x->mechanism == AUTH_SCRAM_SHA_256_PLUS;
    bool offered =
        (auth_snapshot_mechanisms(x->s, &x->peer.channel) & AUTH_SCRAM_SHA_256_PLUS) != 0;
    if (plus != (first->flag == 'p'))
        return refuse(x, AUTH_SYNTAX,
                      plus ? "-PLUS without a channel binding" : "a channel binding without -PLUS");
    /* RFC 5802 section 6: the client could have bound the channel and did not see our offer, so
     * somebody between us took it out of the list. */
    if (first->flag == 'y' && offered)
        return refuse(x, AUTH_BAD_CREDENTIALS, "-PLUS was offered and did not reach the client");
    buf_reset(&x->channel);
    bool ok = buf_add(&x->channel, first->gs2_header);
    for (size_t i = 0; plus && ok && i < x->peer.binding_count; i++) {
        const struct auth_binding *b = &x->peer.bindings[i];
        if (!span_is(first->binding_type, b->type))
            continue;
        x->binding = (sasl_channel_binding_t){b->type, 1, b->bytes.n, b->bytes.p};
        ok = buf_add(&x->channel, b->bytes);
    }
    if (plus && x->binding.name == NULL)
        return refuse(x, AUTH_BAD_CREDENTIALS, "the client's channel binding type is not ours");
    return ok ? AUTH_CONTINUE : refuse(x, AUTH_SYNTAX, "the SCRAM message is too long");
}

static enum auth_outcome look_at_scram_final(struct auth_exchange *x, struct span in)
{
    struct span channel;
    struct buf decoded;
    if (!scram_parse_final(in, &channel))
        return refuse(x, AUTH_SYNTAX, "the last SCRAM message is malformed");
    buf_init(&decoded, MESSAGE_MAX);
    bool readable = base64_decode(channel, &decoded);
    bool same = readable && secret_equal(buf_span(&decoded), buf_span(&x->channel));
    buf_deinit(&decoded);
    x->phase = PHASE_SECRET_SENT;
    if (!readable)
        return refuse(x, AUTH_SYNTAX, "the channel binding is no base64");
    if (!same)
        return refuse(x, AUTH_BAD_CREDENTIALS,
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
        return refuse(x, AUTH_SYNTAX, "the first SCRAM message is malformed");
    enum auth_outcome outcome = take_name(x, span_of(first.name, first.name_n));
    return outcome == AUTH_CONTINUE ? choose_binding(x, &first) : outcome;
}

static enum auth_outcome look_at(struct auth_exchange *x, bool has_input, struct span in)
{
    bool nothing_yet = x->conn == NULL && !has_input;
    if (in.n > MESSAGE_MAX)
        return refuse(x, AUTH_SYNTAX, "the message is too long");
    if (is_scram(x))
        return nothing_yet ? AUTH_CONTINUE : look_at_scram(x, in);
    if (x->mechanism == AUTH_PLAIN)
        return nothing_yet ? AUTH_CONTINUE : look_at_plain(x, in);
    if (x->conn == NULL && in.n == 0)
        return AUTH_CONTINUE; /* LOGIN without a name yet: libsasl2 asks for it */
    if (span_find(in, 0) != in.n)
        return refuse(x, AUTH_SYNTAX, "NUL in LOGIN");
    return x->phase == PHASE_START ? take_name(x, in) : take_password(x, in);
}

/* --- the exchange ---------------------------------------------------------------------------- */

static bool make_connection(struct auth_exchange *x)
{
    sasl_library_callback option = (sasl_library_callback)(void (*)(void))get_option;
    sasl_library_callback canon = (sasl_library_callback)(void (*)(void))canonical_user;
    sasl_library_callback proxy = (sasl_library_callback)(void (*)(void))proxy_policy;
    sasl_library_callback check = (sasl_library_callback)(void (*)(void))check_password;
    x->callbacks[0] = (sasl_callback_t){SASL_CB_GETOPT, option, x};
    x->callbacks[1] = (sasl_callback_t){SASL_CB_CANON_USER, canon, x};
    x->callbacks[2] = (sasl_callback_t){SASL_CB_PROXY_POLICY, proxy, x};
    x->callbacks[3] = (sasl_callback_t){SASL_CB_SERVER_USERDB_CHECKPASS, check, x};
    x->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    const sasl_security_properties_t properties = {.security_flags = SASL_SEC_NOANONYMOUS};
    /* Not SASL_SUCCESS_DATA: SMTP's 235 carries none (RFC 4954 section 4). */
    return sasl_server_new("smtp", x->s->options.hostname, NULL, NULL, NULL, x->callbacks, 0,
                           &x->conn) == SASL_OK &&
           sasl_setprop(x->conn, SASL_SEC_PROPS, &properties) == SASL_OK;
}

/* libsasl2's word, where no call-back has said anything more exact. */
static enum auth_outcome refusal_of(struct auth_exchange *x, int code)
{
    if (x->verdict != AUTH_CONTINUE)
        return x->verdict;
    if (code == SASL_BADAUTH && is_scram(x))
        return refuse_proof(x);
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
        return refuse_proof(x); /* cannot be: nobody can prove a decoy */
    if (!exchange_verifier(x, &v))
        return AUTH_UNAVAILABLE;
    secret_wipe_bytes(&v, sizeof v);
    return x->found == BACKEND_OK && version == x->version
               ? AUTH_OK
               : refuse(x, AUTH_BAD_CREDENTIALS, "the account was changed meanwhile");
}

static enum auth_outcome run(struct auth_exchange *x, bool has_input, struct span in,
                             struct span *challenge)
{
    if ((auth_snapshot_mechanisms(x->s, &x->peer.channel) & x->mechanism) == 0)
        return refuse(x, AUTH_MECHANISM, "that mechanism is not offered here");
    enum auth_outcome outcome = look_at(x, has_input, in);
    if (outcome != AUTH_CONTINUE)
        return outcome;
    bool first = x->conn == NULL;
    if (first && !make_connection(x))
        return refuse(x, AUTH_UNAVAILABLE, "libsasl2: cannot make a connection");
    if (x->binding.name != NULL &&
        sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->binding) != SASL_OK)
        return refuse(x, AUTH_UNAVAILABLE, "libsasl2: does not take the channel binding");
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
        *challenge = span_of(reply, reply_n);
        return AUTH_CONTINUE;
    }
    if (code != SASL_OK)
        return refusal_of(x, code);
    if (x->verdict != AUTH_CONTINUE) /* a call-back refused; libsasl2 must not overrule it */
        return x->verdict;
    return is_scram(x) ? still_valid(x) : AUTH_OK;
}

void auth_exchange_step(struct auth_exchange *x, bool has_input, struct span in,
                        struct auth_step *out)
{
    *out = (struct auth_step){.identity = "", .name = x->name, .reason = x->reason};
    if (x->over) {
        out->outcome = x->verdict == AUTH_OK ? AUTH_SYNTAX : x->verdict;
        return;
    }
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
        out->delay_ms = auth_throttle_check(x->auth, &x->peer.client, x->subject).delay_ms;
    } else if (x->guess &&
               (out->outcome == AUTH_BAD_CREDENTIALS || out->outcome == AUTH_NO_BACKEND)) {
        out->delay_ms =
            auth_throttle_failed(x->auth, &x->peer.client, x->subject, secret_span(&x->password))
                .delay_ms;
    }
    secret_wipe(&x->password);
}
