/* A key in a store may not know every signature: RSA keys of CryptoAPI make no PSS, which TLS 1.3
 * needs, some hardware knows SHA-256 alone. Where such a key would be served, the handshake is kept
 * to what it can do, instead of failing at the signature. Source: RFC 8446 4.2.3. */
#include "net/tls_internal.h"

#include <stdio.h>
#include <string.h>

static const enum cert_hash hashes[] = {CERT_HASH_SHA256, CERT_HASH_SHA384, CERT_HASH_SHA512,
                                        CERT_HASH_SHA1};
static const char *const names[CERT_HASHES] = {[CERT_HASH_SHA1] = "SHA1",
                                               [CERT_HASH_SHA256] = "SHA256",
                                               [CERT_HASH_SHA384] = "SHA384",
                                               [CERT_HASH_SHA512] = "SHA512"};

enum { LIST_MAX = 400 };

static bool is_rsa(const struct tls_identity *i)
{
    return EVP_PKEY_is_a(i->key, "RSA") == 1;
}

bool tls_identity_limited(const struct tls_identity *i)
{
    if (i->provider == NULL)
        return false;
    return (i->can.plain & TLS_KEY_TLS12) != TLS_KEY_TLS12 ||
           (is_rsa(i) && (i->can.pss & TLS_KEY_TLS12) != TLS_KEY_TLS12);
}

static void add(char list[LIST_MAX], const char *kind, const char *joint, const char *hash)
{
    size_t used = strlen(list);
    (void)snprintf(list + used, LIST_MAX - used, "%s%s%s%s", used > 0 ? ":" : "", kind, joint,
                   hash);
}

static void add_all(char list[LIST_MAX], const char *kind, const char *joint, unsigned can)
{
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        if ((can & 1U << hashes[i]) != 0)
            add(list, kind, joint, names[hashes[i]]);
}

/* What one identity can be asked for; a key of ours can do all. */
static void add_identity(char list[LIST_MAX], const struct tls_identity *i)
{
    struct tls_key_abilities can = i->can;
    if (i->provider == NULL)
        can = (struct tls_key_abilities){.plain = TLS_KEY_TLS12 | 1 << CERT_HASH_SHA1,
                                         .pss = TLS_KEY_TLS12};
    if (is_rsa(i)) {
        /* the word is one: rsa_pss_rsae_sha256 */
        static const char *const pss[CERT_HASHES] = {[CERT_HASH_SHA256] = "rsa_pss_rsae_sha256",
                                                     [CERT_HASH_SHA384] = "rsa_pss_rsae_sha384",
                                                     [CERT_HASH_SHA512] = "rsa_pss_rsae_sha512"};
        for (size_t h = 0; h < sizeof hashes / sizeof *hashes; h++)
            if ((can.pss & 1U << hashes[h]) != 0 && pss[hashes[h]] != NULL)
                add(list, pss[hashes[h]], "", "");
        add_all(list, "RSA", "+", can.plain);
    } else if (EVP_PKEY_is_a(i->key, "EC") == 1) {
        add_all(list, "ECDSA", "+", can.plain);
    } else if (EVP_PKEY_is_a(i->key, "ED25519") == 1) {
        add(list, "ed25519", "", "");
    } else if (EVP_PKEY_is_a(i->key, "ED448") == 1) {
        add(list, "ed448", "", "");
    }
}

bool tls_limits_apply(const struct tls_session *s, SSL *ssl)
{
    const struct tls_context *c = s->context;
    char list[LIST_MAX] = "";
    bool known = tls_context_knows(c, s->server_name), limited = false, no_pss = false;
    for (size_t i = 0; i < c->identities_n; i++) {
        const struct tls_identity *id = &c->identities[i];
        bool first = true; /* of its kind: on_certificate serves no other */
        for (size_t j = 0; j < i && first; j++)
            first = !tls_identity_serves(c, j, s->server_name, known) ||
                    is_rsa(&c->identities[j]) != is_rsa(id);
        if (!first || !tls_identity_serves(c, i, s->server_name, known))
            continue;
        add_identity(list, id);
        limited = limited || tls_identity_limited(id);
        no_pss = no_pss || (id->provider != NULL && is_rsa(id) && id->can.pss == 0);
    }
    if (!limited)
        return true;
    return SSL_set1_sigalgs_list(ssl, list) == 1 &&
           (!no_pss || SSL_set_max_proto_version(ssl, TLS1_2_VERSION) == 1);
}
