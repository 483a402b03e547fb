#include "posix/ntlm_reply.h"

#include <string.h>

static struct span next_word(struct span *rest)
{
    size_t end = span_find(*rest, ' ');
    struct span word = span_sub(*rest, 0, end);
    *rest = span_from(*rest, end + 1);
    return word;
}

/* Canonical enough for a line that is ours to send: base64 and nothing else. */
static bool token_ok(struct span word)
{
    for (size_t i = 0; i < word.n; i++) {
        uint8_t c = word.p[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '+' || c == '/';
        if (!plain && !(c == '=' && i + 2 >= word.n))
            return false;
    }
    return word.n % 4 == 0;
}

static bool take_token(struct span *rest, bool required, struct span *token)
{
    struct span word = next_word(rest);
    *token = span_is(word, "*") ? span_of(NULL, 0) : word;
    return token_ok(*token) && (token->n > 0 || !required);
}

static bool is_one_of(struct span word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_is(word, list[i]))
            return true;
    return false;
}

/* NT_STATUS_ names as Samba prints them. What is in neither list is a refusal: of a password, an
 * account, a group. */
static enum ntlm_reply_kind kind_of_refusal(struct span reason)
{
    static const char *const nobody[] = {
        "NT_STATUS_NO_LOGON_SERVERS",
        "NT_STATUS_IO_TIMEOUT",
        "NT_STATUS_DOMAIN_CONTROLLER_NOT_FOUND",
        "NT_STATUS_CANT_ACCESS_DOMAIN_INFO",
        "NT_STATUS_NO_TRUST_LSA_SECRET",
        "NT_STATUS_NO_TRUST_SAM_ACCOUNT",
        "NT_STATUS_TRUSTED_DOMAIN_FAILURE",
        "NT_STATUS_TRUSTED_RELATIONSHIP_FAILURE",
        "NT_STATUS_HOST_UNREACHABLE",
        "NT_STATUS_NETWORK_UNREACHABLE",
        "NT_STATUS_CONNECTION_REFUSED",
        "NT_STATUS_CONNECTION_RESET",
        "NT_STATUS_CONNECTION_DISCONNECTED",
        "NT_STATUS_CONNECTION_INVALID",
        "NT_STATUS_PIPE_BROKEN",
        "NT_STATUS_PIPE_DISCONNECTED",
        "NT_STATUS_PIPE_NOT_AVAILABLE",
        "NT_STATUS_INVALID_NETWORK_RESPONSE",
        "NT_STATUS_UNEXPECTED_NETWORK_ERROR",
        "NT_STATUS_RPC_SERVER_UNAVAILABLE",
        "NT_STATUS_SERVER_UNAVAILABLE",
        "NT_STATUS_NETLOGON_NOT_STARTED",
        "NT_STATUS_INSUFFICIENT_RESOURCES",
        "NT_STATUS_INTERNAL_ERROR",
        "NT_STATUS_UNSUCCESSFUL",
    };
    static const char *const malformed[] = {
        "NT_STATUS_INVALID_PARAMETER",
        "NT_STATUS_INVALID_BUFFER_SIZE",
    };
    struct span rest = reason, status = next_word(&rest);
    if (is_one_of(status, nobody, sizeof nobody / sizeof *nobody))
        return NTLM_REPLY_NOBODY;
    return is_one_of(status, malformed, sizeof malformed / sizeof *malformed) ? NTLM_REPLY_MALFORMED
                                                                              : NTLM_REPLY_REFUSED;
}

static enum ntlm_reply_kind kind_of_name(struct span name, struct ntlm_reply *r)
{
    size_t slash = span_find(name, '\\');
    if (slash == name.n)
        return NTLM_REPLY_GARBAGE; /* smb.conf's winbind separator is another, or no domain */
    r->domain = span_sub(name, 0, slash);
    r->account = span_from(name, slash + 1);
    if (r->domain.n == 0 || span_find(r->domain, '@') < r->domain.n ||
        span_find(r->account, '\\') < r->account.n || span_find(name, 0) < name.n)
        return NTLM_REPLY_GARBAGE;
    bool guest = r->account.n == 0 || span_is_nocase(r->account, "guest") ||
                 span_is_nocase(r->account, "anonymous logon") ||
                 span_is_nocase(r->domain, "NT AUTHORITY");
    return guest ? NTLM_REPLY_GUEST : NTLM_REPLY_ACCEPTED;
}

struct ntlm_reply ntlm_reply_parse(struct span line, bool spnego)
{
    struct ntlm_reply r = {.kind = NTLM_REPLY_GARBAGE};
    struct span rest = line, word = next_word(&rest), ignored;
    r.reason = rest;
    if (span_is(word, "BH")) {
        r.kind = NTLM_REPLY_NOBODY;
    } else if (span_is(word, "TT")) {
        if (take_token(&rest, !spnego, &r.token) && (rest.n == 0 || (spnego && span_is(rest, "*"))))
            r.kind = NTLM_REPLY_CHALLENGE;
    } else if (span_is(word, "NA")) {
        if (spnego && !take_token(&rest, false, &ignored))
            return r;
        r.reason = rest;
        r.kind = kind_of_refusal(rest);
    } else if (span_is(word, "AF")) {
        if (!spnego || take_token(&rest, false, &r.token))
            r.kind = kind_of_name(rest, &r);
    }
    if (r.kind == NTLM_REPLY_GARBAGE)
        r.token = span_of(NULL, 0);
    return r;
}

bool ntlm_command_split(char *command, char **argv, size_t max, size_t *argc)
{
    char *from = command, *to = command, quote = 0;
    bool in_word = false;
    *argc = 0;
    for (; *from != 0; from++) {
        bool space = quote == 0 && (*from == ' ' || *from == '\t');
        if (space) {
            if (in_word)
                *to++ = 0;
            in_word = false;
            continue;
        }
        if (!in_word) {
            if (*argc + 1 >= max)
                return false;
            argv[(*argc)++] = to;
            in_word = true;
        }
        if (quote != 0 && *from == quote)
            quote = 0;
        else if (quote == 0 && (*from == '"' || *from == '\''))
            quote = *from;
        else
            *to++ = *from;
    }
    *to = 0;
    argv[*argc] = NULL;
    return quote == 0 && *argc > 0;
}
