/* integrated_auth_sspi.c over a system that answers as it is told to: every code that
 * AcceptSecurityContext is known to give, tokens of all kinds, packages that Negotiate comes to,
 * the layer's messages, calls that are late; and that whatever was opened is closed. */
#include "platform/integrated_auth.h"
#include "win32/bounded_call.h"
#include "win32/sspi_calls.h"

#include "support/test.h"

#include <sddl.h>

enum { MANY = 8 };

static struct {
    SECURITY_STATUS acquire, token, package, target, sizes, encrypt, decrypt, complete;
    SECURITY_STATUS accept[MANY]; /* one a step */
    ULONG attributes;
    const wchar_t *sid, *group, *package_name, *target_name, *account, *domain;
    DWORD user_error, groups_error, lookup_error;
    SID_NAME_USE use;
    DWORD sleep_ms;
    /* what was seen */
    int steps, contexts, credentials, tokens, buffers;
    ULONG request;
    size_t bindings_n;
    char binding[128];
} system_;

static SECURITY_STATUS SEC_ENTRY acquire(SEC_WCHAR *principal, SEC_WCHAR *package, ULONG use,
                                         void *logon, void *data, SEC_GET_KEY_FN key,
                                         void *argument, PCredHandle out, PTimeStamp until)
{
    (void)principal, (void)logon, (void)data, (void)key, (void)argument, (void)until;
    assert_int_equal(use, SECPKG_CRED_INBOUND);
    assert_true(wcscmp(package, L"Kerberos") == 0 || wcscmp(package, L"Negotiate") == 0 ||
                wcscmp(package, L"NTLM") == 0);
    system_.credentials += system_.acquire == SEC_E_OK;
    out->dwLower = package[0];
    return system_.acquire;
}

static SECURITY_STATUS SEC_ENTRY free_credentials(PCredHandle credentials)
{
    (void)credentials;
    system_.credentials--;
    return SEC_E_OK;
}

static SECURITY_STATUS SEC_ENTRY accept(PCredHandle credentials, PCtxtHandle context,
                                        PSecBufferDesc input, ULONG request, ULONG order,
                                        PCtxtHandle out_context, PSecBufferDesc output,
                                        ULONG *attributes, PTimeStamp until)
{
    (void)credentials, (void)order, (void)until;
    if (system_.sleep_ms > 0)
        Sleep(system_.sleep_ms);
    SECURITY_STATUS status = system_.accept[system_.steps++ % MANY];
    system_.request = request;
    system_.bindings_n = input->cBuffers;
    if (input->cBuffers == 2) {
        const SEC_CHANNEL_BINDINGS *b = input->pBuffers[1].pvBuffer;
        assert_int_equal(input->pBuffers[1].BufferType, SECBUFFER_CHANNEL_BINDINGS);
        assert_int_equal(input->pBuffers[1].cbBuffer,
                         b->dwApplicationDataOffset + b->cbApplicationDataLength);
        (void)snprintf(system_.binding, sizeof system_.binding, "%.*s",
                       (int)b->cbApplicationDataLength,
                       (const char *)b + b->dwApplicationDataOffset);
    }
    if (context == NULL && status >= 0)
        system_.contexts++;
    out_context->dwLower = 7;
    *attributes = system_.attributes;
    memcpy(output->pBuffers[0].pvBuffer, "answer", 6);
    if (status >= 0)
        output->pBuffers[0].cbBuffer = 6;
    return status;
}

static SECURITY_STATUS SEC_ENTRY complete(PCtxtHandle context, PSecBufferDesc token)
{
    (void)context, (void)token;
    return system_.complete;
}

static SECURITY_STATUS SEC_ENTRY delete_context(PCtxtHandle context)
{
    assert_int_equal(context->dwLower, 7);
    system_.contexts--;
    return SEC_E_OK;
}

static SECURITY_STATUS SEC_ENTRY free_buffer(void *buffer)
{
    system_.buffers--;
    free(buffer);
    return SEC_E_OK;
}

static wchar_t *copy_of(const wchar_t *text)
{
    wchar_t *copy = calloc(64, sizeof *copy);
    system_.buffers++;
    return wcscpy(copy, text);
}

static SECURITY_STATUS SEC_ENTRY attributes_of(PCtxtHandle context, ULONG which, void *out)
{
    (void)context;
    if (which == SECPKG_ATTR_CLIENT_SPECIFIED_TARGET) {
        if (system_.target == SEC_E_OK)
            ((SecPkgContext_ClientSpecifiedTarget *)out)->sTargetName =
                system_.target_name == NULL ? NULL : copy_of(system_.target_name);
        return system_.target;
    }
    if (which == SECPKG_ATTR_PACKAGE_INFO) {
        struct {
            SecPkgInfoW info;
            wchar_t name[32];
        } *found = calloc(1, sizeof *found);
        if (system_.package != SEC_E_OK) {
            free(found);
            return system_.package;
        }
        system_.buffers++;
        found->info.Name = wcscpy(found->name, system_.package_name);
        ((SecPkgContext_PackageInfoW *)out)->PackageInfo = &found->info;
        return SEC_E_OK;
    }
    assert_int_equal(which, SECPKG_ATTR_SIZES);
    *(SecPkgContext_Sizes *)out = (SecPkgContext_Sizes){.cbSecurityTrailer = 8, .cbBlockSize = 4};
    return system_.sizes;
}

/* Head "<", the text, one byte of padding ">". */
static SECURITY_STATUS SEC_ENTRY encrypt(PCtxtHandle context, ULONG quality, PSecBufferDesc m,
                                         ULONG number)
{
    (void)context, (void)number;
    assert_int_equal(quality, SECQOP_WRAP_NO_ENCRYPT);
    *(char *)m->pBuffers[0].pvBuffer = '<';
    *(char *)m->pBuffers[2].pvBuffer = '>';
    m->pBuffers[0].cbBuffer = m->pBuffers[2].cbBuffer = 1;
    return system_.encrypt;
}

static SECURITY_STATUS SEC_ENTRY decrypt(PCtxtHandle context, PSecBufferDesc m, ULONG number,
                                         ULONG *quality)
{
    (void)context, (void)number;
    *quality = SECQOP_WRAP_NO_ENCRYPT;
    assert_int_equal(m->pBuffers[0].BufferType, SECBUFFER_STREAM);
    m->pBuffers[1].pvBuffer = (char *)m->pBuffers[0].pvBuffer + 1;
    m->pBuffers[1].cbBuffer = m->pBuffers[0].cbBuffer - 2;
    return system_.decrypt;
}

static SECURITY_STATUS SEC_ENTRY token_of(PCtxtHandle context, void **token)
{
    (void)context;
    *token = &system_;
    system_.tokens += system_.token == SEC_E_OK;
    return system_.token;
}

static BOOL WINAPI close_token(HANDLE token)
{
    assert_ptr_equal(token, &system_);
    system_.tokens--;
    return TRUE;
}

static BOOL write_sid(PSID out, const wchar_t *text)
{
    PSID sid = NULL;
    assert_true(ConvertStringSidToSidW(text, &sid));
    BOOL ok = CopySid(SECURITY_MAX_SID_SIZE, out, sid);
    LocalFree(sid);
    return ok;
}

static BOOL WINAPI token_information(HANDLE token, TOKEN_INFORMATION_CLASS class, LPVOID out,
                                     DWORD size, PDWORD needed)
{
    (void)token;
    *needed = size;
    DWORD code = class == TokenUser ? system_.user_error : system_.groups_error;
    SetLastError(code);
    if (code != 0)
        return FALSE;
    if (class == TokenUser) {
        TOKEN_USER *user = out;
        user->User.Sid = user + 1;
        return write_sid(user->User.Sid, system_.sid);
    }
    TOKEN_GROUPS *groups = out;
    groups->GroupCount = 1;
    groups->Groups[0].Sid = groups + 1;
    return write_sid(groups->Groups[0].Sid, system_.group);
}

static BOOL WINAPI account_of(LPCWSTR machine, PSID sid, LPWSTR account, LPDWORD account_n,
                              LPWSTR domain, LPDWORD domain_n, PSID_NAME_USE use)
{
    (void)machine, (void)sid;
    assert_true(*account_n >= 64 && *domain_n >= 64);
    (void)wcscpy(account, system_.account);
    (void)wcscpy(domain, system_.domain);
    *use = system_.use;
    SetLastError(system_.lookup_error);
    return system_.lookup_error == 0;
}

void sspi_calls_fill(struct sspi_calls *out)
{
    *out = (struct sspi_calls){
        acquire,           free_credentials, accept,     complete, delete_context,
        free_buffer,       attributes_of,    encrypt,    decrypt,  token_of,
        token_information, account_of,       close_token};
}

static struct integrated_auth *auth;
static struct integrated_context *context;
static struct buf out;
static char reason[INTEGRATED_REASON_MAX];

static int set_up(void **state)
{
    (void)state;
    const struct integrated_options options = {"", ""};
    struct err e;
    memset(&system_, 0, sizeof system_);
    system_.sid = L"S-1-5-21-1-2-3-1104";
    system_.group = L"S-1-5-32-545";
    system_.package_name = L"Kerberos";
    system_.target_name = L"smtp/relay.example";
    system_.account = L"alice";
    system_.domain = L"CORP";
    system_.use = SidTypeUser;
    buf_init(&out, INTEGRATED_TOKEN_MAX);
    return integrated_auth_open(&options, &auth, &e) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    integrated_end(&context);
    integrated_auth_close(&auth);
    buf_deinit(&out);
    /* A thread of the pool may be the last that lets go. */
    for (int i = 0; i < 200 && (system_.credentials > 0 || system_.contexts > 0); i++)
        Sleep(10);
    assert_int_equal(system_.credentials, 0);
    assert_int_equal(system_.contexts, 0);
    assert_int_equal(system_.tokens, 0);
    assert_int_equal(system_.buffers, 0);
    return 0;
}

static void begin(enum integrated_package package, const struct span *bindings, size_t n)
{
    integrated_end(&context);
    system_.steps = 0;
    context = integrated_begin(auth, package, bindings, n);
    assert_non_null(context);
}

static enum integrated_result step(void)
{
    return integrated_step(context, span_str("token"), &out, reason);
}

static enum integrated_result one(enum integrated_package package)
{
    begin(package, NULL, 0);
    return step();
}

static void every_failure_of_a_step_has_its_result(void **state)
{
    (void)state;
    static const struct {
        HRESULT code;
        enum integrated_result result;
    } table[] = {{SEC_E_LOGON_DENIED, INTEGRATED_REFUSED},
                 {SEC_E_BAD_BINDINGS, INTEGRATED_REFUSED},
                 {SEC_E_WRONG_PRINCIPAL, INTEGRATED_REFUSED},
                 {SEC_E_MESSAGE_ALTERED, INTEGRATED_REFUSED},
                 {SEC_E_OUT_OF_SEQUENCE, INTEGRATED_REFUSED},
                 {SEC_E_CONTEXT_EXPIRED, INTEGRATED_REFUSED},
                 {SEC_E_DECRYPT_FAILURE, INTEGRATED_REFUSED},
                 {SEC_E_MUTUAL_AUTH_FAILED, INTEGRATED_REFUSED},
                 {SEC_E_DELEGATION_REQUIRED, INTEGRATED_REFUSED},
                 {SEC_E_MULTIPLE_ACCOUNTS, INTEGRATED_REFUSED},
                 {SEC_E_SMARTCARD_LOGON_REQUIRED, INTEGRATED_REFUSED},
                 {SEC_E_TARGET_UNKNOWN, INTEGRATED_REFUSED},
                 {SEC_E_POLICY_NLTM_ONLY, INTEGRATED_REFUSED},
                 {SEC_E_INVALID_TOKEN, INTEGRATED_MALFORMED},
                 {SEC_E_INCOMPLETE_MESSAGE, INTEGRATED_MALFORMED},
                 {SEC_E_ILLEGAL_MESSAGE, INTEGRATED_MALFORMED},
                 {SEC_E_BUFFER_TOO_SMALL, INTEGRATED_MALFORMED},
                 {SEC_E_INSUFFICIENT_BUFFERS, INTEGRATED_MALFORMED},
                 {SEC_E_INVALID_PARAMETER, INTEGRATED_MALFORMED},
                 {SEC_E_NO_AUTHENTICATING_AUTHORITY, INTEGRATED_UNAVAILABLE},
                 {SEC_E_TIME_SKEW, INTEGRATED_UNAVAILABLE},
                 {SEC_E_NO_CREDENTIALS, INTEGRATED_UNAVAILABLE},
                 {SEC_E_NO_KERB_KEY, INTEGRATED_UNAVAILABLE},
                 {SEC_E_UNKNOWN_CREDENTIALS, INTEGRATED_UNAVAILABLE},
                 {SEC_E_WRONG_CREDENTIAL_HANDLE, INTEGRATED_UNAVAILABLE},
                 {SEC_E_DOWNGRADE_DETECTED, INTEGRATED_UNAVAILABLE},
                 {SEC_E_INSUFFICIENT_MEMORY, INTEGRATED_UNAVAILABLE},
                 {SEC_E_INTERNAL_ERROR, INTEGRATED_UNAVAILABLE},
                 {SEC_E_INVALID_HANDLE, INTEGRATED_UNAVAILABLE},
                 {SEC_E_UNSUPPORTED_FUNCTION, INTEGRATED_UNAVAILABLE},
                 {SEC_E_SECPKG_NOT_FOUND, INTEGRATED_UNAVAILABLE},
                 {SEC_E_SHUTDOWN_IN_PROGRESS, INTEGRATED_UNAVAILABLE},
                 {SEC_E_KDC_UNKNOWN_ETYPE, INTEGRATED_UNAVAILABLE},
                 {SEC_E_NO_TGT_REPLY, INTEGRATED_UNAVAILABLE},
                 {SEC_E_ENCRYPT_FAILURE, INTEGRATED_UNAVAILABLE},
                 {(HRESULT)0xc000005eu, INTEGRATED_UNAVAILABLE}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char code[16];
        (void)snprintf(code, sizeof code, "%lx", (unsigned long)table[i].code);
        for (int in_second = 0; in_second < 2; in_second++) {
            system_.accept[0] = SEC_I_CONTINUE_NEEDED;
            system_.accept[in_second] = table[i].code;
            begin(INTEGRATED_NTLM, NULL, 0);
            if (in_second)
                assert_int_equal(step(), INTEGRATED_CONTINUE);
            if (step() != table[i].result)
                fail_msg("code %s: %s", code, reason);
            assert_true(strstr(reason, code) != NULL || strstr(reason, "(") != NULL);
            assert_int_equal(out.n, 0);
            assert_string_equal(integrated_account(context), "");
        }
    }
}

static void no_failure_code_lets_anybody_in(void **state)
{
    (void)state;
    for (uint32_t code = 0x80090300u; code < 0x80090380u; code++) {
        system_.accept[0] = (SECURITY_STATUS)code;
        enum integrated_result result = one(INTEGRATED_KERBEROS);
        assert_true(result != INTEGRATED_DONE && result != INTEGRATED_CONTINUE);
    }
}

static void a_proof_gives_the_name_of_the_token_and_the_last_answer(void **state)
{
    (void)state;
    system_.accept[0] = SEC_I_CONTINUE_NEEDED;
    begin(INTEGRATED_NTLM, NULL, 0);
    assert_int_equal(step(), INTEGRATED_CONTINUE);
    assert_true(span_is(buf_span(&out), "answer"));
    assert_int_equal(step(), INTEGRATED_DONE);
    assert_string_equal(integrated_domain(context), "CORP");
    assert_string_equal(integrated_account(context), "alice");
    assert_int_equal(step(), INTEGRATED_MALFORMED); /* one too many */
    assert_int_equal(system_.steps, 2);
}

static void a_completion_that_is_asked_for_is_made(void **state)
{
    (void)state;
    system_.accept[0] = SEC_I_COMPLETE_AND_CONTINUE;
    system_.accept[1] = SEC_I_COMPLETE_NEEDED;
    begin(INTEGRATED_SPNEGO_KERBEROS, NULL, 0);
    assert_int_equal(step(), INTEGRATED_CONTINUE);
    assert_int_equal(step(), INTEGRATED_DONE);
    system_.complete = SEC_E_LOGON_DENIED;
    assert_int_equal(one(INTEGRATED_SPNEGO_KERBEROS), INTEGRATED_REFUSED);
}

static void guests_and_nobodies_are_refused(void **state)
{
    (void)state;
    static const wchar_t *const nobodies[] = {L"S-1-5-21-1-2-3-501", L"S-1-5-7", L"S-1-0-0",
                                              L"S-1-1-0"};
    for (size_t i = 0; i < sizeof nobodies / sizeof *nobodies; i++) {
        system_.sid = nobodies[i];
        assert_int_equal(one(INTEGRATED_NTLM), INTEGRATED_GUEST);
    }
    system_.sid = L"S-1-5-21-1-2-3-1104";
    system_.group = L"S-1-5-32-546";
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_GUEST);
    assert_non_null(strstr(reason, "Guests"));
    system_.group = L"S-1-5-32-545";
    system_.attributes = ASC_RET_NULL_SESSION;
    assert_int_equal(one(INTEGRATED_NTLM), INTEGRATED_GUEST);
}

static void what_cannot_be_found_out_is_no_login(void **state)
{
    (void)state;
    system_.token = SEC_E_NO_IMPERSONATION;
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_UNAVAILABLE);
    assert_non_null(strstr(reason, "QuerySecurityContextToken"));
    system_.token = SEC_E_OK;
    system_.user_error = ERROR_ACCESS_DENIED;
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_UNAVAILABLE);
    system_.user_error = 0;
    system_.groups_error = ERROR_INSUFFICIENT_BUFFER;
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_UNAVAILABLE);
    system_.groups_error = 0;
    system_.lookup_error = RPC_S_SERVER_UNAVAILABLE;
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_UNAVAILABLE);
    assert_non_null(strstr(reason, "LookupAccountSid"));
}

static void a_name_that_is_no_users_is_refused(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *domain, *account;
        SID_NAME_USE use;
    } table[] = {{L"CORP", L"alice", SidTypeGroup},
                 {L"CORP", L"alice", SidTypeWellKnownGroup},
                 {L"CORP", L"alice", SidTypeDeletedAccount},
                 {L"", L"alice", SidTypeUser},
                 {L"CORP", L"", SidTypeUser},
                 {L"CORP", L"a\\b", SidTypeUser},
                 {L"CO@RP", L"alice", SidTypeUser},
                 {L"CO\\RP", L"alice", SidTypeUser},
                 {L"CORP", L"\xd800", SidTypeUser}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        system_.domain = table[i].domain;
        system_.account = table[i].account;
        system_.use = table[i].use;
        if (one(INTEGRATED_KERBEROS) != INTEGRATED_REFUSED)
            fail_msg("row %u", (unsigned)i);
    }
    system_.domain = L"CORP";
    system_.account = L"PC1$";
    system_.use = SidTypeComputer; /* a machine's own account may be one */
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_DONE);
}

static void the_first_end_point_is_the_binding(void **state)
{
    (void)state;
    const struct span bindings[] = {span_str("tls-exporter:zzz"),
                                    span_str("tls-server-end-point:first"),
                                    span_str("tls-server-end-point:second")};
    begin(INTEGRATED_KERBEROS, bindings, 3);
    assert_int_equal(step(), INTEGRATED_DONE);
    assert_int_equal(system_.bindings_n, 2);
    assert_string_equal(system_.binding, "tls-server-end-point:first");
    assert_true((system_.request & ASC_REQ_ALLOW_MISSING_BINDINGS) != 0);
    assert_int_equal(one(INTEGRATED_KERBEROS), INTEGRATED_DONE);
    assert_int_equal(system_.bindings_n, 1);
    system_.accept[0] = SEC_E_BAD_BINDINGS;
    begin(INTEGRATED_KERBEROS, bindings, 3);
    assert_int_equal(step(), INTEGRATED_REFUSED);
    assert_non_null(strstr(reason, "man in the middle"));
}

static void a_target_must_be_a_mail_service(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *name;
        enum integrated_result result;
    } table[] = {{L"smtp/relay", INTEGRATED_DONE},
                 {L"SMTPSVC/relay", INTEGRATED_DONE},
                 {L"SMTP/RELAY@CORP", INTEGRATED_DONE},
                 {L"", INTEGRATED_DONE},
                 {NULL, INTEGRATED_DONE},
                 {L"HTTP/relay", INTEGRATED_REFUSED},
                 {L"cifs/relay", INTEGRATED_REFUSED},
                 {L"smtp", INTEGRATED_REFUSED},
                 {L"smtpx/relay", INTEGRATED_REFUSED}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        system_.target_name = table[i].name;
        if (one(INTEGRATED_NTLM) != table[i].result || one(INTEGRATED_KERBEROS) != table[i].result)
            fail_msg("row %u", (unsigned)i);
    }
    system_.target = SEC_E_UNSUPPORTED_FUNCTION; /* none was named */
    assert_int_equal(one(INTEGRATED_NTLM), INTEGRATED_DONE);
}

static void negotiate_that_comes_to_ntlm_is_refused_where_kerberos_was_meant(void **state)
{
    (void)state;
    system_.package_name = L"NTLM";
    assert_int_equal(one(INTEGRATED_SPNEGO_KERBEROS), INTEGRATED_REFUSED);
    assert_int_equal(one(INTEGRATED_SPNEGO_NTLM), INTEGRATED_DONE);
    assert_false(integrated_can_wrap(context));
    system_.package = SEC_E_UNSUPPORTED_FUNCTION;
    assert_int_equal(one(INTEGRATED_SPNEGO_KERBEROS), INTEGRATED_REFUSED);
    system_.package = SEC_E_OK;
    system_.package_name = L"Kerberos";
    assert_int_equal(one(INTEGRATED_SPNEGO_KERBEROS), INTEGRATED_DONE);
    assert_true(integrated_can_wrap(context));
}

static void the_layers_messages_are_head_text_and_padding(void **state)
{
    (void)state;
    static const uint8_t offer[] = {1, 0, 0, 0};
    begin(INTEGRATED_KERBEROS, NULL, 0);
    assert_false(integrated_wrap(context, span_of(offer, 4), &out)); /* nothing is proved yet */
    assert_int_equal(step(), INTEGRATED_DONE);
    assert_true(integrated_wrap(context, span_of(offer, 4), &out));
    assert_int_equal(out.n, 6);
    assert_memory_equal(buf_span(&out).p, "<\1\0\0\0>", 6);
    /* What was offered is not before what is answered. */
    assert_true(integrated_unwrap(context, span_str("<text>"), &out));
    assert_true(span_is(buf_span(&out), "text"));
    system_.decrypt = SEC_E_MESSAGE_ALTERED;
    assert_false(integrated_unwrap(context, span_str("<text>"), &out));
    assert_false(integrated_unwrap(context, span_str(""), &out));
    system_.encrypt = SEC_E_CONTEXT_EXPIRED;
    assert_false(integrated_wrap(context, span_of(offer, 4), &out));
    system_.sizes = SEC_E_INVALID_HANDLE;
    assert_false(integrated_wrap(context, span_of(offer, 4), &out));
    assert_int_equal(one(INTEGRATED_NTLM), INTEGRATED_DONE);
    assert_false(integrated_can_wrap(context));
}

static void a_package_that_is_not_there_says_why_and_begins_nothing(void **state)
{
    (void)state;
    const struct integrated_options options = {"", ""};
    struct integrated_auth *none = NULL;
    struct err e;
    system_.acquire = SEC_E_SECPKG_NOT_FOUND;
    assert_true(integrated_auth_open(&options, &none, &e));
    for (int p = 0; p < INTEGRATED_PACKAGES; p++) {
        const struct integrated_readiness *r =
            integrated_auth_ready(none, (enum integrated_package)p);
        assert_false(r->ready);
        assert_non_null(strstr(r->reason, "AcquireCredentialsHandle"));
        assert_true(r->cure[0] != 0);
        assert_null(integrated_begin(none, (enum integrated_package)p, NULL, 0));
        assert_true(integrated_auth_ready(auth, (enum integrated_package)p)->ready);
    }
    integrated_auth_close(&none);
}

static void a_step_that_is_late_is_unavailable_and_ends_by_itself(void **state)
{
    (void)state;
    system_.sleep_ms = INTEGRATED_STEP_MAX_MS + 1500;
    ULONGLONG before = GetTickCount64();
    assert_int_equal(one(INTEGRATED_NTLM), INTEGRATED_UNAVAILABLE);
    assert_true(GetTickCount64() - before < INTEGRATED_STEP_MAX_MS + 1000);
    assert_non_null(strstr(reason, "no answer in time"));
    assert_int_equal(step(), INTEGRATED_MALFORMED);
    assert_string_equal(integrated_account(context), "");
    integrated_end(&context);
    integrated_auth_close(&auth); /* before the system has answered */
    assert_int_equal(system_.credentials, 3);
    for (int i = 0; i < 100 && system_.credentials > 0; i++)
        Sleep(100);
    assert_int_equal(system_.credentials, 0);
    assert_int_equal(system_.contexts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_failure_of_a_step_has_its_result, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_failure_code_lets_anybody_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_proof_gives_the_name_of_the_token_and_the_last_answer,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_completion_that_is_asked_for_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guests_and_nobodies_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_found_out_is_no_login, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_is_no_users_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_end_point_is_the_binding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_target_must_be_a_mail_service, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            negotiate_that_comes_to_ntlm_is_refused_where_kerberos_was_meant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_layers_messages_are_head_text_and_padding, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_package_that_is_not_there_says_why_and_begins_nothing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_step_that_is_late_is_unavailable_and_ends_by_itself,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
