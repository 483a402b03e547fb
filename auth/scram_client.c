#include "auth/scram_client.h"

#include "auth/scram.h"
#include "base/base64.h"
#include "platform/random.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { PART_MAX = 4096, NONCE_BYTES = 18 };

bool scram_client_init(struct scram_client *c, char flag, const char *binding_type,
                       struct span binding, struct err *e)
{
    memset(c, 0, sizeof *c);
    buf_init(&c->gs2, PART_MAX);
    buf_init(&c->message, (size_t)4 * PART_MAX);
    buf_init(&c->out, PART_MAX);
    bool ok =
        flag == 'p' ? buf_addf(&c->gs2, "p=%s,,", binding_type) : buf_addf(&c->gs2, "%c,,", flag);
    c->gs2_header = buf_span(&c->gs2).n;
    if (ok && flag == 'p')
        ok = buf_add(&c->gs2, binding);
    return ok || err_set(e, ERR_TEMP, "authentication: no memory");
}

void scram_client_deinit(struct scram_client *c)
{
    buf_deinit(&c->gs2);
    buf_deinit(&c->message);
    buf_deinit(&c->out);
    secret_wipe_bytes(c->server_signature, sizeof c->server_signature);
}

static bool no_memory(struct scram_client *c, struct err *e)
{
    c->state = SCRAM_CLIENT_FAILED;
    return err_set(e, ERR_TEMP, "authentication: no memory, or a message too long");
}

static bool bad_server(struct scram_client *c, const char *what, struct err *e)
{
    c->state = SCRAM_CLIENT_FAILED;
    return err_set(e, ERR_PERM, "authentication: SCRAM-SHA-256: %s", what);
}

/* saslname: a comma is =2C and an equals sign is =3D. */
static bool add_name(struct buf *b, const char *user)
{
    bool ok = true;
    for (; *user != 0 && ok; user++)
        ok = *user == ','   ? buf_add_str(b, "=2C")
             : *user == '=' ? buf_add_str(b, "=3D")
                            : buf_add_byte(b, (uint8_t)*user);
    return ok;
}

bool scram_client_first(struct scram_client *c, const char *user, struct span *out, struct err *e)
{
    uint8_t raw[NONCE_BYTES];
    struct buf nonce;
    random_bytes(raw, sizeof raw);
    buf_init(&nonce, sizeof c->nonce);
    bool ok = base64_encode(span_of(raw, sizeof raw), &nonce) &&
              span_cstr(buf_span(&nonce), c->nonce, sizeof c->nonce);
    buf_deinit(&nonce);
    ok = ok && buf_add_str(&c->message, "n=") && add_name(&c->message, user) &&
         buf_addf(&c->message, ",r=%s", c->nonce) &&
         buf_add(&c->out, span_sub(buf_span(&c->gs2), 0, c->gs2_header)) &&
         buf_add(&c->out, buf_span(&c->message));
    if (!ok)
        return no_memory(c, e);
    c->state = SCRAM_CLIENT_FIRST_SENT;
    *out = buf_span(&c->out);
    return true;
}

/* The value of the attribute that stands next; what follows it is left in *rest. */
static bool take(struct span *rest, char attribute, struct span *value)
{
    if (rest->n < 2 || rest->p[0] != (uint8_t)attribute || rest->p[1] != '=')
        return false;
    size_t n = span_find(*rest, ',');
    *value = span_sub(*rest, 2, n - 2);
    *rest = span_from(*rest, n + 1);
    return true;
}

/* server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions] */
static bool read_server_first(struct scram_client *c, struct span challenge, struct span *nonce,
                              struct scram_verifier *v, struct err *e)
{
    struct span rest = challenge, salt, count;
    struct buf decoded;
    uint64_t iterations = 0;
    size_t own = strlen(c->nonce);
    if (!take(&rest, 'r', nonce) || !take(&rest, 's', &salt) || !take(&rest, 'i', &count) ||
        !span_u64(count, UINT32_MAX, &iterations))
        return bad_server(c, "the server's first message is malformed", e);
    if (nonce->n <= own || memcmp(nonce->p, c->nonce, own) != 0)
        return bad_server(c, "the server's nonce does not begin with ours", e);
    if (iterations < SCRAM_ITERATIONS_LEAST || iterations > SCRAM_ITERATIONS_MOST) {
        c->state = SCRAM_CLIENT_FAILED;
        return err_set(
            e, ERR_PERM, "authentication: the server wants %llu SCRAM iterations, we do %d to %d",
            (unsigned long long)iterations, SCRAM_ITERATIONS_LEAST, SCRAM_ITERATIONS_MOST);
    }
    buf_init(&decoded, PART_MAX);
    bool ok = base64_decode(salt, &decoded) && buf_span(&decoded).n > 0 &&
              buf_span(&decoded).n <= SCRAM_SALT_MAX;
    if (ok) {
        v->iterations = (uint32_t)iterations;
        v->salt_n = buf_span(&decoded).n;
        memcpy(v->salt, buf_span(&decoded).p, v->salt_n);
    }
    buf_deinit(&decoded);
    return ok || bad_server(c, "the server's salt is malformed", e);
}

static bool sign(const uint8_t key[SCRAM_KEY_SIZE], struct span message,
                 uint8_t out[SCRAM_KEY_SIZE])
{
    unsigned n = 0;
    return HMAC(EVP_sha256(), key, SCRAM_KEY_SIZE, message.p, message.n, out, &n) != NULL;
}

/* client-final-message = "c=" base64 "," "r=" nonce "," "p=" base64; AuthMessage is what both sides
 * sign. */
static bool prove(struct scram_client *c, struct span challenge, struct span password,
                  struct err *e)
{
    struct scram_verifier v = {0};
    struct span nonce;
    uint8_t client_key[SCRAM_KEY_SIZE], signature[SCRAM_KEY_SIZE];
    if (!read_server_first(c, challenge, &nonce, &v, e))
        return false;
    buf_reset(&c->out);
    bool ok = buf_add_str(&c->out, "c=") && base64_encode(buf_span(&c->gs2), &c->out) &&
              buf_add_str(&c->out, ",r=") && buf_add(&c->out, nonce) &&
              buf_add_byte(&c->message, ',') && buf_add(&c->message, challenge) &&
              buf_add_byte(&c->message, ',') && buf_add(&c->message, buf_span(&c->out));
    ok = ok && scram_derive_client(password, &v, client_key, e) &&
         sign(v.stored_key, buf_span(&c->message), signature) &&
         sign(v.server_key, buf_span(&c->message), c->server_signature);
    for (size_t i = 0; ok && i < SCRAM_KEY_SIZE; i++)
        signature[i] ^= client_key[i];
    ok = ok && buf_add_str(&c->out, ",p=") &&
         base64_encode(span_of(signature, SCRAM_KEY_SIZE), &c->out);
    secret_wipe_bytes(client_key, sizeof client_key);
    secret_wipe_bytes(&v, sizeof v);
    if (!ok)
        return no_memory(c, e);
    c->state = SCRAM_CLIENT_PROOF_SENT;
    return true;
}

/* server-final-message = ("e=" error / "v=" base64) ["," extensions] */
static bool check_server(struct scram_client *c, struct span challenge, struct err *e)
{
    struct span rest = challenge, value;
    struct buf decoded;
    if (!take(&rest, 'v', &value))
        return bad_server(c, "the server refused our proof", e);
    buf_init(&decoded, PART_MAX);
    bool ok = base64_decode(value, &decoded) &&
              secret_equal(buf_span(&decoded), span_of(c->server_signature, SCRAM_KEY_SIZE));
    buf_deinit(&decoded);
    if (!ok)
        return bad_server(c, "the server did not prove that it knows the password", e);
    c->state = SCRAM_CLIENT_DONE;
    return true;
}

bool scram_client_step(struct scram_client *c, struct span challenge, struct span password,
                       struct span *out, struct err *e)
{
    *out = span_of(NULL, 0);
    switch (c->state) {
    case SCRAM_CLIENT_FIRST_SENT:
        if (!prove(c, challenge, password, e))
            return false;
        *out = buf_span(&c->out);
        return true;
    case SCRAM_CLIENT_PROOF_SENT: return check_server(c, challenge, e);
    case SCRAM_CLIENT_START:
    case SCRAM_CLIENT_DONE:
    case SCRAM_CLIENT_FAILED: break;
    }
    return bad_server(c, "the server asks on after the end", e);
}
