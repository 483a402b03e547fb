/* A client's token, the first or a later one (byte 0 even), a helper's line (odd). */
#include "auth/gss_token.h"
#include "auth/ntlm_name.h"
#include "posix/ntlm_reply.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void token(struct span s)
{
    struct gss_token t = gss_token_look(s);
    check(t.kind == GSS_TOKEN_SPNEGO || (!t.kerberos && !t.ntlm));
    check((t.kerberos || !t.kerberos_first) && (t.ntlm || !t.ntlm_first));
    check(!t.kerberos_first || !t.ntlm_first);
    if (t.kind == GSS_TOKEN_KERBEROS || t.kind == GSS_TOKEN_SPNEGO) /* its length is exact */
        check(gss_token_look(span_sub(s, 0, s.n - 1)).kind == GSS_TOKEN_NONE);
    struct ntlm_name n;
    check(gss_token_response(s).n <= s.n);
    if (ntlm_name_look(s, &n)) {
        check(n.account[0] != 0 && strlen(n.account) < NTLM_NAME_MAX);
        check(strchr(n.account, '\\') == NULL && strchr(n.domain, '\\') == NULL);
        check(t.kind == GSS_TOKEN_NONE);
    }
}

static void line(struct span s, bool spnego)
{
    struct ntlm_reply r = ntlm_reply_parse(s, spnego);
    if (r.kind == NTLM_REPLY_ACCEPTED) {
        check(r.domain.n > 0 && r.account.n > 0);
        check(span_find(r.domain, '\\') == r.domain.n && span_find(r.domain, '@') == r.domain.n);
        check(span_find(r.account, '\\') == r.account.n && span_find(r.account, 0) == r.account.n);
    }
    if (r.kind != NTLM_REPLY_CHALLENGE && r.kind != NTLM_REPLY_ACCEPTED &&
        r.kind != NTLM_REPLY_GUEST)
        check(r.token.n == 0);
    char *copy = malloc(s.n + 1), *argv[6];
    size_t argc = 0;
    check(copy != NULL);
    memcpy(copy, s.p, s.n);
    copy[s.n] = 0;
    if (ntlm_command_split(copy, argv, 6, &argc))
        check(argc > 0 && argc < 6 && argv[argc] == NULL);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *exact = malloc(size); /* not a byte more may be read */
    check(exact != NULL);
    memcpy(exact, data + 1, size - 1);
    struct span s = span_of(exact, size - 1);
    if ((data[0] & 1) == 0)
        token(s);
    else
        line(s, (data[0] & 2) != 0);
    free(exact);
    return 0;
}
