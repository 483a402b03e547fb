#include "auth/scram.h"

#include "base/base64.h"
#include "base/secret.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

static bool hmac(const uint8_t key[SCRAM_KEY_SIZE], const char *text, uint8_t out[SCRAM_KEY_SIZE])
{
    unsigned n = 0;
    return HMAC(EVP_sha256(), key, SCRAM_KEY_SIZE, (const unsigned char *)text, strlen(text), out,
                &n) != NULL &&
           n == SCRAM_KEY_SIZE;
}

bool scram_derive_client(struct span password, struct scram_verifier *v,
                         uint8_t client_key[SCRAM_KEY_SIZE], struct err *e)
{
    uint8_t salted[SCRAM_KEY_SIZE];
    bool ok =
        password.n <= INT32_MAX && v->iterations <= INT32_MAX &&
        PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, v->salt, (int)v->salt_n,
                          (int)v->iterations, EVP_sha256(), SCRAM_KEY_SIZE, salted) == 1 &&
        hmac(salted, "Client Key", client_key) &&
        EVP_Digest(client_key, SCRAM_KEY_SIZE, v->stored_key, NULL, EVP_sha256(), NULL) == 1 &&
        hmac(salted, "Server Key", v->server_key);
    secret_wipe_bytes(salted, sizeof salted);
    return ok || err_set(e, ERR_TEMP, "scram: the crypto library could not derive a key");
}

bool scram_derive(struct span password, struct scram_verifier *v, struct err *e)
{
    uint8_t client_key[SCRAM_KEY_SIZE];
    bool ok = scram_derive_client(password, v, client_key, e);
    secret_wipe_bytes(client_key, sizeof client_key);
    return ok;
}

static bool add_base64(struct buf *b, const uint8_t *p, size_t n)
{
    return base64_encode(span_of(p, n), b);
}

bool scram_format(const struct scram_verifier *v, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, size - 1);
    bool ok = buf_addf(&b, "SCRAM-SHA-256$%" PRIu32 ":", v->iterations) &&
              add_base64(&b, v->salt, v->salt_n) && buf_add_byte(&b, '$') &&
              add_base64(&b, v->stored_key, SCRAM_KEY_SIZE) && buf_add_byte(&b, ':') &&
              add_base64(&b, v->server_key, SCRAM_KEY_SIZE) && span_cstr(buf_span(&b), out, size);
    secret_wipe_bytes(b.p, b.cap);
    buf_deinit(&b);
    return ok;
}

/* saslname with =2C for a comma and =3D for an equals sign; nothing else may follow '='. */
static bool undo_saslname(struct span s, char *out, size_t size, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c == '=') {
            struct span code = span_sub(s, i + 1, 2);
            if (!span_is_nocase(code, "2C") && !span_is_nocase(code, "3D"))
                return false;
            c = code.p[0] == '2' ? ',' : '=';
            i += 2;
        }
        if (*n == size)
            return false;
        out[(*n)++] = (char)c;
    }
    return true;
}

/* What stands before the next comma; the comma is consumed, and missing is false. */
static bool until_comma(struct span *rest, struct span *part)
{
    size_t at = span_find(*rest, ',');
    if (at == rest->n)
        return false;
    *part = span_sub(*rest, 0, at);
    *rest = span_from(*rest, at + 1);
    return true;
}

static bool starts(struct span s, const char *two)
{
    return s.n >= 2 && s.p[0] == (uint8_t)two[0] && s.p[1] == (uint8_t)two[1];
}

bool scram_parse_first(struct span message, struct scram_first *first)
{
    struct span rest = message, flag, authzid, name;
    if (span_find(message, 0) != message.n || !until_comma(&rest, &flag) ||
        !until_comma(&rest, &authzid))
        return false;
    *first = (struct scram_first){.gs2_header = span_sub(message, 0, message.n - rest.n)};
    if (starts(flag, "p=") && flag.n > 2)
        first->binding_type = span_from(flag, 2);
    else if (!span_is(flag, "n") && !span_is(flag, "y"))
        return false;
    first->flag = (char)flag.p[0];
    if (authzid.n > 0 && (!starts(authzid, "a=") || authzid.n == 2))
        return false;
    /* "m=" is a mandatory extension, and we know none: RFC 5802 section 5.1 wants a failure. */
    if (!until_comma(&rest, &name) || !starts(name, "n=") || !starts(rest, "r=") || rest.n == 2)
        return false;
    return undo_saslname(span_from(name, 2), first->name, sizeof first->name, &first->name_n);
}

bool scram_parse_final(struct span message, struct span *channel)
{
    struct span rest = message;
    if (span_find(message, 0) != message.n || !until_comma(&rest, channel) ||
        !starts(*channel, "c="))
        return false;
    *channel = span_from(*channel, 2);
    return true;
}
