#include "posix/integrated_gss.h"

#include <errno.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gss_login {
    const char *keytab;
    uint8_t binding_bytes[INTEGRATED_BINDINGS_MAX][INTEGRATED_BINDING_MAX];
    struct span bindings[INTEGRATED_BINDINGS_MAX];
    size_t binding_count;
    gss_ctx_id_t context;
    OM_uint32 flags;
    char realm[INTEGRATED_NAME_MAX], principal[INTEGRATED_NAME_MAX];
};

static const gss_OID_desc spnego = {6, (void *)"\x2b\x06\x01\x05\x05\x02"};
static const gss_OID_desc kerberos = {9, (void *)"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"};

static bool is_kerberos(gss_OID oid)
{
    return oid != GSS_C_NO_OID && oid->length == kerberos.length &&
           memcmp(oid->elements, kerberos.elements, kerberos.length) == 0;
}

struct gss_login *gss_login_new(const char *keytab, const struct span *bindings,
                                size_t binding_count)
{
    struct gss_login *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->keytab = keytab;
    l->context = GSS_C_NO_CONTEXT;
    for (size_t i = 0; i < binding_count && l->binding_count < INTEGRATED_BINDINGS_MAX; i++) {
        if (bindings[i].n == 0 || bindings[i].n > INTEGRATED_BINDING_MAX)
            continue;
        uint8_t *copy = l->binding_bytes[l->binding_count];
        memcpy(copy, bindings[i].p, bindings[i].n);
        l->bindings[l->binding_count++] = span_of(copy, bindings[i].n);
    }
    return l;
}

void gss_login_free(struct gss_login **l)
{
    OM_uint32 minor;
    if (*l == NULL)
        return;
    if ((*l)->context != GSS_C_NO_CONTEXT)
        (void)gss_delete_sec_context(&minor, &(*l)->context, GSS_C_NO_BUFFER);
    free(*l);
    *l = NULL;
}

/* The mechanism's word where it has one, else GSSAPI's. */
static void explain(OM_uint32 major, OM_uint32 minor, char reason[INTEGRATED_REASON_MAX])
{
    OM_uint32 ignored, more = 0;
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    gss_OID_desc oid = kerberos;
    bool mechanism = minor != 0;
    if (gss_display_status(&ignored, mechanism ? minor : major,
                           mechanism ? GSS_C_MECH_CODE : GSS_C_GSS_CODE,
                           mechanism ? &oid : GSS_C_NO_OID, &more, &text) != GSS_S_COMPLETE)
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "Kerberos: status %#x", (unsigned)major);
    else
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "Kerberos: %.*s",
                       (int)(text.length < 150 ? text.length : 150), (const char *)text.value);
    (void)gss_release_buffer(&ignored, &text);
}

/* The keys of the keytab as they are now. replay_cache: false = look only, remember nothing. */
static OM_uint32 acquire(const struct gss_login *l, bool replay_cache, gss_cred_id_t *cred,
                         OM_uint32 *minor)
{
    gss_OID_desc wanted[] = {kerberos, spnego};
    gss_OID_set_desc mechanisms = {2, wanted}, negotiable = {1, wanted};
    gss_key_value_element_desc elements[2];
    gss_key_value_set_desc store = {0, elements};
    if (l->keytab[0] != 0)
        elements[store.count++] = (gss_key_value_element_desc){"keytab", l->keytab};
    if (!replay_cache)
        elements[store.count++] = (gss_key_value_element_desc){"rcache", "none:"};
    OM_uint32 major =
        gss_acquire_cred_from(minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &mechanisms, GSS_C_ACCEPT,
                              store.count > 0 ? &store : NULL, cred, NULL, NULL);
    return major == GSS_S_COMPLETE ? gss_set_neg_mechs(minor, *cred, &negotiable) : major;
}

struct accepted {
    OM_uint32 major, minor;
    gss_name_t client;
    gss_OID mechanism;
    gss_buffer_desc out;
};

static void accepted_release(struct accepted *a)
{
    OM_uint32 ignored;
    (void)gss_release_buffer(&ignored, &a->out);
    (void)gss_release_name(&ignored, &a->client);
}

static void accept_with(struct gss_login *l, bool replay_cache, struct span in,
                        const struct span *binding, struct accepted *a)
{
    OM_uint32 ignored;
    gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
    gss_buffer_desc token = {in.n, (void *)(uintptr_t)in.p};
    struct gss_channel_bindings_struct channel = {0};
    *a = (struct accepted){.client = GSS_C_NO_NAME, .out = GSS_C_EMPTY_BUFFER};
    if (binding != NULL)
        channel.application_data = (gss_buffer_desc){binding->n, (void *)(uintptr_t)binding->p};
    a->major = acquire(l, replay_cache, &cred, &a->minor);
    if (a->major == GSS_S_COMPLETE)
        a->major =
            gss_accept_sec_context(&a->minor, &l->context, cred, &token,
                                   binding != NULL ? &channel : GSS_C_NO_CHANNEL_BINDINGS,
                                   &a->client, &a->mechanism, &a->out, &l->flags, NULL, NULL);
    else
        a->major = GSS_S_NO_CRED;
    if (cred != GSS_C_NO_CREDENTIAL)
        (void)gss_release_cred(&ignored, &cred);
    if (GSS_ERROR(a->major) && l->context != GSS_C_NO_CONTEXT)
        (void)gss_delete_sec_context(&ignored, &l->context, GSS_C_NO_BUFFER);
}

static bool bad_binding(const struct accepted *a)
{
    return GSS_ROUTINE_ERROR(a->major) == GSS_S_BAD_BINDINGS;
}

/* Which binding the client took stands inside of what it has encrypted. The replay cache has seen
 * the token before the binding is looked at, and a replay never comes as far as that: so with the
 * further bindings the token is tried past the cache. */
static void accept_token(struct gss_login *l, struct span in, struct accepted *a)
{
    bool first = l->context == GSS_C_NO_CONTEXT;
    accept_with(l, true, in, l->binding_count > 0 ? &l->bindings[0] : NULL, a);
    for (size_t i = 1; first && i < l->binding_count && bad_binding(a); i++) {
        accepted_release(a);
        accept_with(l, false, in, &l->bindings[i], a);
    }
}

static enum integrated_result refusal_of(const struct accepted *a,
                                         char reason[INTEGRATED_REASON_MAX])
{
    explain(a->major, a->minor, reason);
    switch (GSS_ROUTINE_ERROR(a->major)) {
    case GSS_S_DEFECTIVE_TOKEN:
    case GSS_S_BAD_MECH: return INTEGRATED_MALFORMED;
    case GSS_S_NO_CRED: return INTEGRATED_UNAVAILABLE;
    case GSS_S_BAD_BINDINGS:
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s",
                       "Kerberos: the channel binding is another than ours: is there a man in the "
                       "middle?");
        return INTEGRATED_REFUSED;
    case GSS_S_DUPLICATE_TOKEN:
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s", "Kerberos: the token is a replay");
        return INTEGRATED_REFUSED;
    default: break;
    }
    switch ((krb5_error_code)a->minor) {
    case KRB5_RC_IO:
    case KRB5_RC_IO_EOF:
    case KRB5_RC_IO_MALLOC:
    case KRB5_RC_IO_PERM:
    case KRB5_RC_IO_IO:
    case KRB5_RC_IO_SPACE:
    case KRB5_RC_IO_UNKNOWN:
    case KRB5_RC_MALLOC:
    case KRB5_KT_IOERR:
    /* The ticket is for a key that we lack: the keytab is behind its account, or the ticket is. */
    case KRB5KRB_AP_ERR_NOKEY:
    case KRB5KRB_AP_ERR_BADKEYVER:
    case KRB5_KT_KVNONOTFOUND:
    case ENOMEM:
    case EIO:
    case ENOENT:
    case ENOTDIR:
    case EDQUOT:
    case ENOSPC:
    case EACCES:
    case EROFS:
    case EMFILE:
    case ENFILE: return INTEGRATED_UNAVAILABLE;
    case KRB5_BADMSGTYPE:
    case (krb5_error_code)ASN1_BAD_ID:
    case (krb5_error_code)ASN1_OVERRUN:
    case (krb5_error_code)ASN1_PARSE_ERROR: return INTEGRATED_MALFORMED;
    default: return INTEGRATED_REFUSED;
    }
}

/* The frame of Kerberos inside a token of SPNEGO (RFC 4121 section 4.1: [APPLICATION 0], its
 * length, the OID, 01 00); empty where there is none. */
static struct span framed_kerberos(struct span in)
{
    static const uint8_t head[] = {0x06, 9,    0x2a, 0x86, 0x48, 0x86, 0xf7,
                                   0x12, 0x01, 0x02, 0x02, 0x01, 0x00};
    for (size_t at = 2; at + sizeof head <= in.n; at++) {
        if (memcmp(in.p + at, head, sizeof head) != 0)
            continue;
        for (size_t bytes = 0, length = 0; bytes <= 3 && bytes + 2 <= at; bytes++) {
            /* The length's own bytes: one below 80, or 80 and how many follow. */
            const uint8_t *tag = in.p + at - 2 - bytes;
            length = bytes == 0 ? tag[1] : 0;
            for (size_t i = 0; i < bytes; i++)
                length = length << 8 | tag[2 + i];
            if (tag[0] == 0x60 && (bytes == 0 ? tag[1] < 0x80 : tag[1] == 0x80 + bytes) &&
                length <= in.n - at)
                return span_of(tag, 2 + bytes + length);
        }
    }
    return (struct span){0};
}

/* SPNEGO hides the mechanism's own status, and with it whether a key or the disk failed us rather
 * than the client. The same ticket without SPNEGO tells; it is asked for nothing else. */
static enum integrated_result spnego_refusal(const struct gss_login *l, struct span in,
                                             const struct accepted *a,
                                             char reason[INTEGRATED_REASON_MAX])
{
    enum integrated_result result = refusal_of(a, reason);
    const struct span ticket = framed_kerberos(in);
    if (result != INTEGRATED_REFUSED || GSS_ROUTINE_ERROR(a->major) != GSS_S_FAILURE ||
        ticket.n == 0 || ticket.p == in.p)
        return result;
    OM_uint32 ignored;
    struct gss_login look = {.keytab = l->keytab, .context = GSS_C_NO_CONTEXT};
    struct accepted again;
    char plainly[INTEGRATED_REASON_MAX];
    accept_with(&look, true, ticket, NULL, &again);
    if (GSS_ERROR(again.major) && refusal_of(&again, plainly) == INTEGRATED_UNAVAILABLE) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s", plainly);
        result = INTEGRATED_UNAVAILABLE;
    }
    if (look.context != GSS_C_NO_CONTEXT)
        (void)gss_delete_sec_context(&ignored, &look.context, GSS_C_NO_BUFFER);
    accepted_release(&again);
    return result;
}

/* A GSSAPI name as text; false for one that does not fit or holds what could be read twice (krb5
 * escapes with a backslash). */
static bool name_text(gss_name_t name, char *out, size_t size, bool *anonymous)
{
    OM_uint32 minor;
    gss_OID type = GSS_C_NO_OID;
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    if (name == GSS_C_NO_NAME || gss_display_name(&minor, name, &text, &type) != GSS_S_COMPLETE)
        return false;
    struct span bytes = span_of(text.value, text.length);
    bool ok = span_find(bytes, '\\') == bytes.n && span_cstr(bytes, out, size);
    *anonymous = type != GSS_C_NO_OID && gss_oid_equal(type, GSS_C_NT_ANONYMOUS);
    (void)gss_release_buffer(&minor, &text);
    return ok;
}

static bool for_us(gss_ctx_id_t context)
{
    OM_uint32 minor;
    gss_name_t target = GSS_C_NO_NAME;
    char name[2 * INTEGRATED_NAME_MAX];
    bool anonymous;
    bool ok = gss_inquire_context(&minor, context, NULL, &target, NULL, NULL, NULL, NULL, NULL) ==
                  GSS_S_COMPLETE &&
              name_text(target, name, sizeof name, &anonymous) &&
              (span_starts_nocase(span_str(name), "smtp/") ||
               span_starts_nocase(span_str(name), "SMTPSVC/"));
    (void)gss_release_name(&minor, &target);
    return ok;
}

static enum integrated_result refuse(enum integrated_result result, const char *why,
                                     char reason[INTEGRATED_REASON_MAX])
{
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "%s", why);
    return result;
}

/* The context stands: who is it, and was the ticket meant for us? */
static enum integrated_result judge(struct gss_login *l, const struct accepted *a,
                                    char reason[INTEGRATED_REASON_MAX])
{
    char name[2 * INTEGRATED_NAME_MAX];
    bool anonymous = false;
    if (!is_kerberos(a->mechanism))
        return refuse(INTEGRATED_REFUSED, "GSSAPI: it was not Kerberos that proved it", reason);
    bool readable = name_text(a->client, name, sizeof name, &anonymous);
    if ((l->flags & GSS_C_ANON_FLAG) != 0 || anonymous ||
        (readable && span_starts_nocase(span_str(name), "WELLKNOWN/")))
        return refuse(INTEGRATED_GUEST, "Kerberos: an anonymous ticket", reason);
    struct span text = span_str(readable ? name : "");
    size_t at = span_rfind(text, '@');
    struct span realm = span_from(text, at + 1);
    if (at == 0 || realm.n == 0 || !span_cstr(realm, l->realm, sizeof l->realm) ||
        !span_cstr(span_sub(text, 0, at), l->principal, sizeof l->principal))
        return refuse(INTEGRATED_REFUSED, "Kerberos: the principal's name cannot be an account",
                      reason);
    if (span_is_nocase(span_str(l->principal), "guest"))
        return refuse(INTEGRATED_GUEST, "Kerberos: the guest account", reason);
    if (!for_us(l->context))
        return refuse(INTEGRATED_REFUSED,
                      "Kerberos: the ticket is for another service than smtp/ or SMTPSVC/", reason);
    return INTEGRATED_DONE;
}

enum integrated_result gss_login_step(struct gss_login *l, struct span in, struct buf *out,
                                      char reason[INTEGRATED_REASON_MAX])
{
    struct accepted a;
    enum integrated_result result;
    accept_token(l, in, &a);
    if (GSS_ERROR(a.major))
        result = spnego_refusal(l, in, &a, reason);
    else if (!buf_add(out, span_of(a.out.value, a.out.length)))
        result = refuse(INTEGRATED_UNAVAILABLE, "no memory for the answer", reason);
    else if ((a.major & GSS_S_CONTINUE_NEEDED) != 0)
        result = INTEGRATED_CONTINUE;
    else
        result = judge(l, &a, reason);
    accepted_release(&a);
    return result;
}

const char *gss_login_realm(const struct gss_login *l)
{
    return l->realm;
}

const char *gss_login_principal(const struct gss_login *l)
{
    return l->principal;
}

bool gss_login_wrap(struct gss_login *l, struct span in, struct buf *out)
{
    OM_uint32 minor;
    gss_buffer_desc clear = {in.n, (void *)(uintptr_t)in.p}, wrapped = GSS_C_EMPTY_BUFFER;
    buf_reset(out);
    bool ok = l->context != GSS_C_NO_CONTEXT &&
              gss_wrap(&minor, l->context, 0, GSS_C_QOP_DEFAULT, &clear, NULL, &wrapped) ==
                  GSS_S_COMPLETE &&
              buf_add(out, span_of(wrapped.value, wrapped.length));
    (void)gss_release_buffer(&minor, &wrapped);
    return ok;
}

bool gss_login_unwrap(struct gss_login *l, struct span in, struct buf *out)
{
    OM_uint32 minor;
    gss_buffer_desc wrapped = {in.n, (void *)(uintptr_t)in.p}, clear = GSS_C_EMPTY_BUFFER;
    buf_reset(out);
    bool ok = l->context != GSS_C_NO_CONTEXT &&
              gss_unwrap(&minor, l->context, &wrapped, &clear, NULL, NULL) == GSS_S_COMPLETE &&
              buf_add(out, span_of(clear.value, clear.length));
    if (clear.value != NULL && clear.length == 0)
        clear.length = 1; /* MIT allocates for an empty message too, and frees none */
    (void)gss_release_buffer(&minor, &clear);
    return ok;
}
