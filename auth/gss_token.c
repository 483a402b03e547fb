#include "auth/gss_token.h"

enum {
    TAG_APPLICATION_0 = 0x60,
    TAG_OID = 0x06,
    TAG_OCTETS = 0x04,
    TAG_SEQUENCE = 0x30,
    TAG_CONTEXT_0 = 0xa0,
    TAG_CONTEXT_1 = 0xa1,
    TAG_CONTEXT_2 = 0xa2,
};
enum { MECHANISMS_MAX = 32 };

static const uint8_t oid_spnego[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x02};
static const uint8_t oid_kerberos[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
/* 1.2.840.48018.1.2.2: a 16-bit slip of Windows 2000 that its successors still send first. */
static const uint8_t oid_kerberos_ms[] = {0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 0x01, 0x02, 0x02};
static const uint8_t oid_ntlm[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a};

#define IS_OID(span, oid) span_equal((span), span_of((oid), sizeof(oid)))

/* One DER element at the front of *in; *in goes on behind it. Lengths: definite, shortest form. */
static bool take(struct span *in, uint8_t tag, struct span *content)
{
    if (in->n < 2 || in->p[0] != tag)
        return false;
    size_t n = in->p[1], head = 2;
    if (n >= 0x80) {
        size_t octets = n & 0x7f;
        if (octets == 0 || octets > 4 || in->n < 2 + octets)
            return false;
        n = 0;
        for (size_t i = 0; i < octets; i++)
            n = n << 8 | in->p[2 + i];
        head += octets;
        if (n < 0x80 || in->p[2] == 0)
            return false;
    }
    if (n > in->n - head)
        return false;
    *content = span_sub(*in, head, n);
    *in = span_from(*in, head + n);
    return true;
}

/* NegotiationToken ::= CHOICE { negTokenInit [0] NegTokenInit, ... }
 * NegTokenInit ::= SEQUENCE { mechTypes [0] MechTypeList, ... }
 * MechTypeList ::= SEQUENCE OF MechType (RFC 4178 section 4.2.1) */
static bool look_at_list(struct span in, struct gss_token *t)
{
    struct span choice, sequence, types, list, oid;
    if (!take(&in, TAG_CONTEXT_0, &choice) || in.n > 0 || !take(&choice, TAG_SEQUENCE, &sequence) ||
        choice.n > 0 || !take(&sequence, TAG_CONTEXT_0, &types) ||
        !take(&types, TAG_SEQUENCE, &list) || types.n > 0 || list.n == 0)
        return false;
    for (size_t i = 0; list.n > 0; i++) {
        if (i == MECHANISMS_MAX || !take(&list, TAG_OID, &oid))
            return false;
        bool kerberos = IS_OID(oid, oid_kerberos) || IS_OID(oid, oid_kerberos_ms);
        bool ntlm = IS_OID(oid, oid_ntlm);
        t->kerberos = t->kerberos || kerberos;
        t->ntlm = t->ntlm || ntlm;
        if (i == 0) {
            t->kerberos_first = kerberos;
            t->ntlm_first = ntlm;
        }
    }
    return true;
}

struct gss_token gss_token_look(struct span token)
{
    static const uint8_t ntlm[] = {'N', 'T', 'L', 'M', 'S', 'S', 'P', 0, 1, 0, 0, 0};
    struct gss_token t = {.kind = GSS_TOKEN_NONE};
    struct span frame, oid;
    if (token.n >= sizeof ntlm && span_equal(span_sub(token, 0, sizeof ntlm), span_of(ntlm, 12))) {
        t.kind = GSS_TOKEN_NTLM;
        return t;
    }
    if (!take(&token, TAG_APPLICATION_0, &frame) || token.n > 0 || !take(&frame, TAG_OID, &oid))
        return t;
    if (IS_OID(oid, oid_kerberos) && frame.n > 0)
        t.kind = GSS_TOKEN_KERBEROS;
    else if (IS_OID(oid, oid_spnego) && look_at_list(frame, &t))
        t.kind = GSS_TOKEN_SPNEGO;
    else
        t = (struct gss_token){.kind = GSS_TOKEN_NONE};
    return t;
}

/* NegTokenResp ::= SEQUENCE { negState [0], supportedMech [1], responseToken [2] OCTET STRING,
 * mechListMIC [3] }, each of them optional, behind the choice negTokenResp [1]. */
struct span gss_token_response(struct span token)
{
    struct span choice, sequence, part, octets, in = token;
    if (in.n == 0 || in.p[0] != TAG_CONTEXT_1)
        return token;
    if (!take(&in, TAG_CONTEXT_1, &choice) || !take(&choice, TAG_SEQUENCE, &sequence))
        return span_sub(token, 0, 0);
    (void)take(&sequence, TAG_CONTEXT_0, &part);
    (void)take(&sequence, TAG_CONTEXT_1, &part);
    if (!take(&sequence, TAG_CONTEXT_2, &part) || !take(&part, TAG_OCTETS, &octets))
        return span_sub(token, 0, 0);
    return octets;
}
