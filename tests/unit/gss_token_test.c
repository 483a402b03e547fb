/* The two pure readers of integrated authentication: a client's first token, a helper's line. */
#include "auth/gss_token.h"
#include "posix/ntlm_reply.h"
#include "support/test.h"

#define KRB "\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"
#define KRB_MS "\x06\x09\x2a\x86\x48\x82\xf7\x12\x01\x02\x02"
#define SPNEGO "\x06\x06\x2b\x06\x01\x05\x05\x02"
#define NTLM "\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a"
#define NEGOEX "\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e"
/* BYTES("...") : the literal without its NUL */
#define BYTES(s) (s), sizeof(s) - 1

enum { K = 1, N = 2, K1 = 4, N1 = 8 };

static const struct {
    const char *what, *bytes;
    size_t n;
    enum gss_token_kind kind;
    unsigned flags;
} tokens[] = {
    {"nothing", BYTES(""), GSS_TOKEN_NONE, 0},
    {"NTLM type 1", BYTES("NTLMSSP\0\1\0\0\0\7\x82\x08\xa2"), GSS_TOKEN_NTLM, 0},
    {"NTLM type 3 is no first message", BYTES("NTLMSSP\0\3\0\0\0\0\0\0\0"), GSS_TOKEN_NONE, 0},
    {"the signature alone", BYTES("NTLMSSP\0"), GSS_TOKEN_NONE, 0},
    {"Kerberos", BYTES("\x60\x0d" KRB "\1\0"), GSS_TOKEN_KERBEROS, 0},
    {"Kerberos in long form", BYTES("\x60\x81\x0d" KRB "\1\0"), GSS_TOKEN_NONE, 0},
    {"Kerberos with nothing in it", BYTES("\x60\x0b" KRB), GSS_TOKEN_NONE, 0},
    {"Kerberos, one byte too long", BYTES("\x60\x0d" KRB "\1\0\0"), GSS_TOKEN_NONE, 0},
    {"Kerberos, cut", BYTES("\x60\x0d" KRB "\1"), GSS_TOKEN_NONE, 0},
    {"another OID", BYTES("\x60\x0e" NTLM "\1\0"), GSS_TOKEN_NONE, 0},
    {"SPNEGO: Kerberos", BYTES("\x60\x1b" SPNEGO "\xa0\x11\x30\x0f\xa0\x0d\x30\x0b" KRB),
     GSS_TOKEN_SPNEGO, K | K1},
    {"SPNEGO: NTLM", BYTES("\x60\x1c" SPNEGO "\xa0\x12\x30\x10\xa0\x0e\x30\x0c" NTLM),
     GSS_TOKEN_SPNEGO, N | N1},
    {"SPNEGO as Windows sends it",
     BYTES("\x60\x3e" SPNEGO "\xa0\x34\x30\x32\xa0\x30\x30\x2e" KRB_MS KRB NEGOEX NTLM),
     GSS_TOKEN_SPNEGO, K | N | K1},
    {"SPNEGO: NTLM before Kerberos",
     BYTES("\x60\x27" SPNEGO "\xa0\x1d\x30\x1b\xa0\x19\x30\x17" NTLM KRB), GSS_TOKEN_SPNEGO,
     K | N | N1},
    {"SPNEGO: neither", BYTES("\x60\x1c" SPNEGO "\xa0\x12\x30\x10\xa0\x0e\x30\x0c" NEGOEX),
     GSS_TOKEN_SPNEGO, 0},
    {"SPNEGO with a token behind the list",
     BYTES("\x60\x20" SPNEGO "\xa0\x16\x30\x14\xa0\x0d\x30\x0b" KRB "\xa2\x03\x04\x01\x42"),
     GSS_TOKEN_SPNEGO, K | K1},
    {"SPNEGO: an empty list", BYTES("\x60\x10" SPNEGO "\xa0\x06\x30\x04\xa0\x02\x30\x00"),
     GSS_TOKEN_NONE, 0},
    {"SPNEGO: a list that ends within a name",
     BYTES("\x60\x1a" SPNEGO "\xa0\x10\x30\x0e\xa0\x0c\x30\x0a" KRB), GSS_TOKEN_NONE, 0},
    {"SPNEGO: an answer, not an offer", BYTES("\x60\x0c" SPNEGO "\xa1\x02\x30\x00"), GSS_TOKEN_NONE,
     0},
    {"SPNEGO: a length of four gigabytes", BYTES("\x60\x84\xff\xff\xff\xff" SPNEGO), GSS_TOKEN_NONE,
     0},
    {"an indefinite length", BYTES("\x60\x80" KRB "\1\0\0\0"), GSS_TOKEN_NONE, 0},
    {"a length of more octets than there are", BYTES("\x60\x84\x00"), GSS_TOKEN_NONE, 0},
};

static void first_tokens_are_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        struct gss_token t = gss_token_look(span_of(tokens[i].bytes, tokens[i].n));
        unsigned flags = (t.kerberos ? K : 0u) | (t.ntlm ? N : 0u) | (t.kerberos_first ? K1 : 0u) |
                         (t.ntlm_first ? N1 : 0u);
        if (t.kind != tokens[i].kind || flags != tokens[i].flags)
            fail_msg("%s: kind %d flags %u", tokens[i].what, (int)t.kind, flags);
    }
}

static void no_prefix_of_a_token_is_a_token(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        for (size_t n = 0; tokens[i].kind != GSS_TOKEN_NONE && n < tokens[i].n; n++) {
            uint8_t *exact = malloc(n + 1); /* for the sanitizer: not a byte more is read */
            memcpy(exact, tokens[i].bytes, n);
            enum gss_token_kind kind = gss_token_look(span_of(exact, n)).kind;
            free(exact);
            assert_true(kind == GSS_TOKEN_NONE || kind == GSS_TOKEN_NTLM);
        }
}

static const struct {
    const char *line;
    bool spnego;
    enum ntlm_reply_kind kind;
    const char *token, *domain, *account;
} lines[] = {
    {"TT TlRMTVNTUAAC", false, NTLM_REPLY_CHALLENGE, "TlRMTVNTUAAC", "", ""},
    {"TT", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT *", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT no base64!", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT AAA", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT A=AA", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT AAAA BBBB", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"TT AAA= *", true, NTLM_REPLY_CHALLENGE, "AAA=", "", ""},
    {"TT * *", true, NTLM_REPLY_CHALLENGE, "", "", ""},
    {"TT oRUwE6ADCgEC BBBB", true, NTLM_REPLY_GARBAGE, "", "", ""},
    {"AF CORP\\alice", false, NTLM_REPLY_ACCEPTED, "", "CORP", "alice"},
    {"AF CORP\\Alice Liddell", false, NTLM_REPLY_ACCEPTED, "", "CORP", "Alice Liddell"},
    {"AF alice", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"AF CORP+alice", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"AF CORP\\a\\b", false, NTLM_REPLY_GARBAGE, NULL, NULL, NULL},
    {"AF \\alice", false, NTLM_REPLY_GARBAGE, NULL, NULL, NULL},
    {"AF a@b\\alice", false, NTLM_REPLY_GARBAGE, NULL, NULL, NULL},
    {"AF", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"AF CORP\\", false, NTLM_REPLY_GUEST, "", "CORP", ""},
    {"AF CORP\\Guest", false, NTLM_REPLY_GUEST, "", "CORP", "Guest"},
    {"AF NT AUTHORITY\\ANONYMOUS LOGON", false, NTLM_REPLY_GUEST, "", "NT AUTHORITY",
     "ANONYMOUS LOGON"},
    {"AF oQcwBaADCgEA CORP\\alice", true, NTLM_REPLY_ACCEPTED, "oQcwBaADCgEA", "CORP", "alice"},
    {"AF * CORP\\alice", true, NTLM_REPLY_ACCEPTED, "", "CORP", "alice"},
    {"AF CORP\\alice", true, NTLM_REPLY_GARBAGE, "", "", ""},
    {"NA NT_STATUS_WRONG_PASSWORD", false, NTLM_REPLY_REFUSED, "", "", ""},
    {"NA NT_STATUS_NO_LOGON_SERVERS", false, NTLM_REPLY_NOBODY, "", "", ""},
    {"NA NT_STATUS_NO_LOGON_SERVERSX", false, NTLM_REPLY_REFUSED, "", "", ""},
    {"NA NT_STATUS_INVALID_PARAMETER", false, NTLM_REPLY_MALFORMED, "", "", ""},
    {"NA * NT_STATUS_IO_TIMEOUT", true, NTLM_REPLY_NOBODY, "", "", ""},
    {"NA * NT_STATUS_ACCOUNT_DISABLED", true, NTLM_REPLY_REFUSED, "", "", ""},
    {"NA", false, NTLM_REPLY_REFUSED, "", "", ""},
    {"BH NT_STATUS_UNSUCCESSFUL NT_STATUS_UNSUCCESSFUL", false, NTLM_REPLY_NOBODY, "", "", ""},
    {"BH", true, NTLM_REPLY_NOBODY, "", "", ""},
    {"", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"OK", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"af CORP\\alice", false, NTLM_REPLY_GARBAGE, "", "", ""},
    {"AFX CORP\\alice", false, NTLM_REPLY_GARBAGE, "", "", ""},
};

static void a_helpers_lines_are_read_by_the_protocol(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct ntlm_reply r = ntlm_reply_parse(span_str(lines[i].line), lines[i].spnego);
        bool same = r.kind == lines[i].kind;
        assert_true(r.kind != NTLM_REPLY_GARBAGE || r.token.n == 0);
        if (same && (r.kind == NTLM_REPLY_CHALLENGE || r.kind == NTLM_REPLY_ACCEPTED ||
                     r.kind == NTLM_REPLY_GUEST))
            same = span_is(r.token, lines[i].token) && span_is(r.domain, lines[i].domain) &&
                   span_is(r.account, lines[i].account);
        if (!same)
            fail_msg("%s (%d): kind %d", lines[i].line, lines[i].spnego, (int)r.kind);
    }
}

static void a_command_is_split_without_a_shell(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *words; /* with | between them; NULL = refused */
    } cases[] = {
        {"/usr/bin/ntlm_auth", "/usr/bin/ntlm_auth"},
        {"  /bin/a \t b  ", "/bin/a|b"},
        {"/bin/a --require-membership-of=CORP\\relay-users",
         "/bin/a|--require-membership-of=CORP\\relay-users"},
        {"/bin/a --g='CORP\\relay users' \"x y\"", "/bin/a|--g=CORP\\relay users|x y"},
        {"/bin/a ''", "/bin/a|"},
        {"/bin/a $HOME;`id`|&>x", "/bin/a|$HOME;`id`|&>x"},
        {"/bin/a 'b", NULL},
        {"", NULL},
        {"  \t", NULL},
        {"a b c d e f g h", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[128], joined[128] = "";
        char *argv[8];
        size_t argc = 0;
        (void)snprintf(command, sizeof command, "%s", cases[i].command);
        bool ok = ntlm_command_split(command, argv, 8, &argc);
        assert_int_equal(ok, cases[i].words != NULL);
        for (size_t k = 0; ok && k < argc; k++) {
            strcat(joined, k > 0 ? "|" : "");
            strcat(joined, argv[k]);
        }
        if (ok) {
            assert_string_equal(joined, cases[i].words);
            assert_null(argv[argc]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_tokens_are_told_apart),
        cmocka_unit_test(no_prefix_of_a_token_is_a_token),
        cmocka_unit_test(a_helpers_lines_are_read_by_the_protocol),
        cmocka_unit_test(a_command_is_split_without_a_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
