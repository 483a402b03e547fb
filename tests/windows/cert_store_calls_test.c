/* What Wine has in name only of the certificate store: keys of CNG, every failure of theirs, the
 * rights of their keys. The calls are a table of ours that answers as Microsoft's pages say. */
#include "win32/cert_store_codes.h"
#include "win32/cert_store_parts.h"
#include "win32/rights.h"

#include "support/test.h"

#include <sddl.h>

/* ---- the calls ---- */

static struct fake {
    DWORD acquire_error; /* 0: it gives a key */
    DWORD spec;
    BOOL to_free;
    SECURITY_STATUS sign_status, get_status, set_status;
    DWORD capi_error; /* of opening by name */
    wchar_t hash[32]; /* what the last signature was asked for */
    ULONG salt;
    DWORD flags, hash_n;
    BYTE descriptor[1024];
    DWORD descriptor_n;
    int closed, capi_closed;
} fake;

static BOOL WINAPI acquire(PCCERT_CONTEXT c, DWORD flags, void *unused,
                           HCRYPTPROV_OR_NCRYPT_KEY_HANDLE *key, DWORD *spec, BOOL *to_free)
{
    (void)c;
    (void)unused;
    assert_true((flags & CRYPT_ACQUIRE_SILENT_FLAG) != 0); /* a service has nobody to ask */
    assert_true((flags & CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG) != 0);
    *key = 77;
    *spec = fake.spec;
    *to_free = fake.to_free;
    SetLastError(fake.acquire_error);
    return fake.acquire_error == 0;
}

static BOOL WINAPI capi_open(HCRYPTPROV *out, LPCWSTR container, LPCWSTR name, DWORD type,
                             DWORD flags)
{
    (void)container;
    assert_true(type == PROV_RSA_AES && wcscmp(name, MS_ENH_RSA_AES_PROV_W) == 0);
    assert_true((flags & CRYPT_SILENT) != 0);
    *out = 78;
    SetLastError(fake.capi_error);
    return fake.capi_error == 0;
}

static BOOL WINAPI capi_close(HCRYPTPROV p, DWORD flags)
{
    (void)p;
    (void)flags;
    fake.capi_closed++;
    return TRUE;
}

static SECURITY_STATUS WINAPI ncrypt_sign(NCRYPT_KEY_HANDLE key, VOID *padding, PBYTE hash,
                                          DWORD hash_n, PBYTE out, DWORD size, DWORD *n,
                                          DWORD flags)
{
    assert_true(key == 77);
    (void)hash;
    assert_true((flags & NCRYPT_SILENT_FLAG) != 0);
    fake.flags = flags & ~(DWORD)NCRYPT_SILENT_FLAG;
    fake.hash_n = hash_n;
    fake.hash[0] = 0;
    fake.salt = 0;
    if (fake.flags == BCRYPT_PAD_PKCS1 && ((BCRYPT_PKCS1_PADDING_INFO *)padding)->pszAlgId != NULL)
        (void)wcsncpy(fake.hash, ((BCRYPT_PKCS1_PADDING_INFO *)padding)->pszAlgId, 31);
    if (fake.flags == BCRYPT_PAD_PSS) {
        (void)wcsncpy(fake.hash, ((BCRYPT_PSS_PADDING_INFO *)padding)->pszAlgId, 31);
        fake.salt = ((BCRYPT_PSS_PADDING_INFO *)padding)->cbSalt;
    }
    if (fake.flags == 0)
        assert_null(padding);
    assert_true(size >= 256);
    memset(out, 5, 256);
    *n = 256;
    return fake.sign_status;
}

static SECURITY_STATUS WINAPI ncrypt_get(NCRYPT_HANDLE key, LPCWSTR property, PBYTE out, DWORD size,
                                         DWORD *n, DWORD flags)
{
    assert_true(key == 77 && wcscmp(property, NCRYPT_SECURITY_DESCR_PROPERTY) == 0);
    assert_true((flags & DACL_SECURITY_INFORMATION) != 0);
    *n = fake.descriptor_n;
    if (out != NULL && fake.get_status == 0) {
        if (size < fake.descriptor_n)
            return NTE_BUFFER_TOO_SMALL;
        memcpy(out, fake.descriptor, fake.descriptor_n);
    }
    return fake.get_status;
}

static SECURITY_STATUS WINAPI ncrypt_set(NCRYPT_HANDLE key, LPCWSTR property, PBYTE data, DWORD n,
                                         DWORD flags)
{
    assert_true(key == 77 && wcscmp(property, NCRYPT_SECURITY_DESCR_PROPERTY) == 0);
    assert_true((flags & DACL_SECURITY_INFORMATION) != 0 && n <= sizeof fake.descriptor);
    assert_true(IsValidSecurityDescriptor(data));
    if (fake.set_status == 0) {
        memcpy(fake.descriptor, data, n);
        fake.descriptor_n = n;
    }
    return fake.set_status;
}

static SECURITY_STATUS WINAPI ncrypt_close(NCRYPT_HANDLE key)
{
    assert_true(key == 77);
    fake.closed++;
    return ERROR_SUCCESS;
}

static const struct cert_calls calls = {.acquire = acquire,
                                        .capi_open = capi_open,
                                        .capi_close = capi_close,
                                        .ncrypt_sign = ncrypt_sign,
                                        .ncrypt_get = ncrypt_get,
                                        .ncrypt_set = ncrypt_set,
                                        .ncrypt_close = ncrypt_close};

/* Any certificate will do: the calls do not look at it. One of the machine's roots. */
static PCCERT_CONTEXT certificate(bool with_capi_key)
{
    static const BYTE name[] = {0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06,
                                0x03, 0x55, 0x04, 0x03, 0x13, 0x01, 'x'};
    static const BYTE key[] = {0x30, 0x06, 0x02, 0x01, 0x03, 0x02, 0x01, 0x03};
    BYTE body[256];
    char rsa[] = szOID_RSA_RSA, sha256[] = szOID_RSA_SHA256RSA;
    BYTE null[] = {5, 0}, serial[] = {1};
    CERT_INFO info = {.dwVersion = CERT_V3,
                      .SerialNumber = {1, serial},
                      .SignatureAlgorithm = {sha256, {2, null}},
                      .Issuer = {sizeof name, (BYTE *)name},
                      .NotBefore = {0, 0x01d00000},
                      .NotAfter = {0, 0x01f00000},
                      .Subject = {sizeof name, (BYTE *)name},
                      .SubjectPublicKeyInfo = {{rsa, {2, null}}, {sizeof key, (BYTE *)key, 0}}};
    DWORD n = sizeof body;
    assert_true(CryptEncodeObject(X509_ASN_ENCODING, X509_CERT_TO_BE_SIGNED, &info, body, &n));
    CERT_SIGNED_CONTENT_INFO whole = {.ToBeSigned = {n, body},
                                      .SignatureAlgorithm = {sha256, {2, null}},
                                      .Signature = {1, serial, 0}};
    BYTE all[512];
    DWORD all_n = sizeof all;
    assert_true(CryptEncodeObject(X509_ASN_ENCODING, X509_CERT, &whole, all, &all_n));
    PCCERT_CONTEXT c = CertCreateCertificateContext(X509_ASN_ENCODING, all, all_n);
    assert_non_null(c);
    wchar_t container[] = L"c", provider[] = L"p";
    CRYPT_KEY_PROV_INFO place = {.pwszContainerName = container,
                                 .pwszProvName = provider,
                                 .dwProvType = with_capi_key ? PROV_RSA_FULL : 0,
                                 .dwKeySpec = AT_SIGNATURE};
    assert_true(CertSetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, 0, &place));
    return c;
}

static struct cert_handle open_it(void)
{
    struct cert_handle h;
    struct err e = {0};
    PCCERT_CONTEXT c = certificate(false);
    fake.spec = CERT_NCRYPT_KEY_SPEC;
    fake.to_free = TRUE;
    assert_int_equal(cert_handle_open(&calls, c, &h, &e), CERT_STORE_OK);
    (void)CertFreeCertificateContext(c);
    assert_true(h.ncrypt == 77);
    return h;
}

/* ---- keys ---- */

static void a_cng_key_is_asked_in_the_form_that_its_page_says(void **state)
{
    (void)state;
    static const struct {
        enum cert_padding padding;
        enum cert_hash hash;
        size_t n;
        DWORD flags;
        const wchar_t *name;
        ULONG salt;
    } cases[] = {
        {CERT_PADDING_PKCS1, CERT_HASH_SHA256, 32, BCRYPT_PAD_PKCS1, L"SHA256", 0},
        {CERT_PADDING_PKCS1, CERT_HASH_SHA384, 48, BCRYPT_PAD_PKCS1, L"SHA384", 0},
        {CERT_PADDING_PKCS1, CERT_HASH_SHA512, 64, BCRYPT_PAD_PKCS1, L"SHA512", 0},
        {CERT_PADDING_PKCS1, CERT_HASH_SHA1, 20, BCRYPT_PAD_PKCS1, L"SHA1", 0},
        {CERT_PADDING_PKCS1, CERT_HASH_MD5_SHA1, 36, BCRYPT_PAD_PKCS1, L"", 0},
        {CERT_PADDING_PSS, CERT_HASH_SHA256, 32, BCRYPT_PAD_PSS, L"SHA256", 32},
        {CERT_PADDING_PSS, CERT_HASH_SHA384, 48, BCRYPT_PAD_PSS, L"SHA384", 48},
        {CERT_PADDING_PSS, CERT_HASH_SHA512, 64, BCRYPT_PAD_PSS, L"SHA512", 64},
        {CERT_PADDING_NONE, CERT_HASH_SHA256, 32, 0, L"", 0},
        {CERT_PADDING_NONE, CERT_HASH_SHA384, 48, 0, L"", 0},
    };
    fake = (struct fake){0};
    struct cert_handle h = open_it();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t digest[64] = {1}, out[1024];
        size_t n = 0;
        struct err e = {0};
        assert_int_equal(cert_handle_sign(&h, cases[i].padding, cases[i].hash,
                                          span_of(digest, cases[i].n), out, sizeof out, &n, &e),
                         CERT_STORE_OK);
        assert_true(n == 256 && out[0] == 5 && fake.flags == cases[i].flags);
        assert_true(wcscmp(fake.hash, cases[i].name) == 0 && fake.salt == cases[i].salt);
        assert_true(fake.hash_n == cases[i].n);
    }
    cert_handle_close(&h);
    assert_int_equal(fake.closed, 1);
}

static const struct {
    uint32_t code;
    enum cert_store_result result;
} failures[] = {
    {5, CERT_STORE_LOCKED},            /* ERROR_ACCESS_DENIED */
    {0x80070005, CERT_STORE_LOCKED},   /* E_ACCESSDENIED */
    {0x80090010, CERT_STORE_LOCKED},   /* NTE_PERM */
    {0x80090016, CERT_STORE_LOCKED},   /* NTE_BAD_KEYSET */
    {0x8009200b, CERT_STORE_ABSENT},   /* CRYPT_E_NO_KEY_PROPERTY */
    {0x80092004, CERT_STORE_ABSENT},   /* CRYPT_E_NOT_FOUND */
    {0x80090011, CERT_STORE_ABSENT},   /* NTE_NOT_FOUND */
    {0x8009000d, CERT_STORE_ABSENT},   /* NTE_NO_KEY */
    {2, CERT_STORE_ABSENT},            /* ERROR_FILE_NOT_FOUND */
    {0x80090022, CERT_STORE_UNUSABLE}, /* NTE_SILENT_CONTEXT */
    {0x8009002e, CERT_STORE_UNUSABLE}, /* NTE_UI_REQUIRED */
    {0x8010006b, CERT_STORE_UNUSABLE}, /* SCARD_W_WRONG_CHV */
    {0x8010006c, CERT_STORE_UNUSABLE}, /* SCARD_W_CHV_BLOCKED */
    {0x8010000c, CERT_STORE_UNUSABLE}, /* SCARD_E_NO_SMARTCARD */
    {0x80100069, CERT_STORE_UNUSABLE}, /* SCARD_W_REMOVED_CARD */
    {0x80090008, CERT_STORE_UNUSABLE}, /* NTE_BAD_ALGID */
    {0x80090029, CERT_STORE_UNUSABLE}, /* NTE_NOT_SUPPORTED */
    {0x80090009, CERT_STORE_UNUSABLE}, /* NTE_BAD_FLAGS */
    {0x80090027, CERT_STORE_UNUSABLE}, /* NTE_INVALID_PARAMETER */
    {0x80090019, CERT_STORE_UNUSABLE}, /* NTE_KEYSET_NOT_DEF */
    {0x8009001a, CERT_STORE_UNUSABLE}, /* NTE_KEYSET_ENTRY_BAD */
    {0x8009001e, CERT_STORE_UNUSABLE}, /* NTE_PROV_DLL_NOT_FOUND */
    {0x80090003, CERT_STORE_UNUSABLE}, /* NTE_BAD_KEY */
    {0x8009000b, CERT_STORE_UNUSABLE}, /* NTE_BAD_KEY_STATE */
    {0x8009000e, CERT_STORE_FAILED},   /* NTE_NO_MEMORY */
    {0x80090020, CERT_STORE_FAILED},   /* NTE_FAIL */
    {0x80090030, CERT_STORE_FAILED},   /* NTE_DEVICE_NOT_READY */
    {1722, CERT_STORE_FAILED},         /* RPC_S_SERVER_UNAVAILABLE: no KeyIso */
    {1726, CERT_STORE_FAILED},         /* RPC_S_CALL_FAILED */
    {0xdeadbeef, CERT_STORE_FAILED},
};

static void every_failure_of_a_signature_and_of_opening_has_its_result(void **state)
{
    (void)state;
    fake = (struct fake){0};
    struct cert_handle h = open_it();
    PCCERT_CONTEXT c = certificate(false);
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        uint8_t out[1024];
        size_t n = 0;
        char number[16];
        struct err e = {0};
        (void)snprintf(number, sizeof number, failures[i].code > 0xffff ? "(0x%08lx)" : "(%lu)",
                       (unsigned long)failures[i].code);
        fake.sign_status = (SECURITY_STATUS)failures[i].code;
        if (cert_handle_sign(&h, CERT_PADDING_PSS, CERT_HASH_SHA256, span_of(number, 32 / 4), out,
                             sizeof out, &n, &e) != failures[i].result)
            fail_msg("sign %s", number);
        assert_true(n == 0 && strstr(e.text, "NCryptSignHash") != NULL);
        assert_non_null(strstr(e.text, number));
        assert_int_equal(e.class, failures[i].result == CERT_STORE_FAILED ? ERR_TEMP : ERR_PERM);

        struct cert_handle other;
        fake.acquire_error = failures[i].code;
        if (cert_handle_open(&calls, c, &other, &e) != failures[i].result)
            fail_msg("open %s", number);
        assert_non_null(strstr(e.text, number));
        fake.acquire_error = 0;
        cert_handle_close(&other); /* nothing is open: nothing happens */
    }
    cert_handle_close(&h);
    (void)CertFreeCertificateContext(c);
    assert_int_equal(fake.closed, 1);
}

static void no_number_is_a_signature(void **state)
{
    (void)state;
    for (uint32_t code = 1; code < 20000; code++) {
        assert_int_not_equal(cert_store_of_code(code), CERT_STORE_OK);
        assert_int_not_equal(cert_store_of_code(0x80090000U + code), CERT_STORE_OK);
    }
}

static void a_key_that_the_system_lends_is_not_freed(void **state)
{
    (void)state;
    struct cert_handle h;
    struct err e = {0};
    PCCERT_CONTEXT c = certificate(false);
    fake = (struct fake){.spec = CERT_NCRYPT_KEY_SPEC, .to_free = FALSE};
    assert_int_equal(cert_handle_open(&calls, c, &h, &e), CERT_STORE_OK);
    cert_handle_close(&h);
    assert_int_equal(fake.closed, 0);
    (void)CertFreeCertificateContext(c);
}

static void a_capi_key_is_opened_again_by_the_provider_that_knows_sha_256(void **state)
{
    (void)state;
    struct cert_handle h;
    struct err e = {0};
    PCCERT_CONTEXT c = certificate(true);
    fake = (struct fake){.spec = AT_KEYEXCHANGE, .to_free = TRUE};
    assert_int_equal(cert_handle_open(&calls, c, &h, &e), CERT_STORE_OK);
    assert_true(h.ncrypt == 0 && h.capi == 78 && h.spec == AT_SIGNATURE);
    assert_int_equal(fake.capi_closed, 1); /* the one that the system gave */
    cert_handle_close(&h);
    assert_int_equal(fake.capi_closed, 2);
    /* another maker's container is not Microsoft's: what the system gave stays */
    fake =
        (struct fake){.spec = AT_KEYEXCHANGE, .to_free = TRUE, .capi_error = (DWORD)NTE_BAD_KEYSET};
    assert_int_equal(cert_handle_open(&calls, c, &h, &e), CERT_STORE_OK);
    assert_true(h.capi == 77 && h.spec == AT_KEYEXCHANGE);
    uint8_t digest[32] = {0}, out[512];
    size_t n;
    assert_int_equal(cert_handle_sign(&h, CERT_PADDING_PSS, CERT_HASH_SHA256,
                                      span_of(digest, sizeof digest), out, sizeof out, &n, &e),
                     CERT_STORE_UNUSABLE);
    cert_handle_close(&h);
    assert_int_equal(fake.capi_closed, 1);
    (void)CertFreeCertificateContext(c);
}

/* ---- rights ---- */

static void set_descriptor(const wchar_t *sddl)
{
    PSECURITY_DESCRIPTOR d = NULL;
    ULONG n = 0;
    assert_true(
        ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &d, &n));
    assert_true(n <= sizeof fake.descriptor);
    memcpy(fake.descriptor, d, n);
    fake.descriptor_n = n;
    LocalFree(d);
}

static void who_may_read_a_key_is_told_of_its_list(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *sddl;
        enum cert_store_right right;
    } cases[] = {
        {L"D:P(A;;GA;;;SY)(A;;GA;;;BA)", CERT_STORE_MAY_NOT}, /* as Windows makes them */
        {L"D:P(A;;GA;;;SY)(A;;GR;;;" RIGHTS_SERVICE_SID L")", CERT_STORE_MAY},
        {L"D:P(A;;GA;;;SY)(A;;FR;;;" RIGHTS_SERVICE_SID L")", CERT_STORE_MAY},
        {L"D:P(A;;GA;;;SY)(A;;GA;;;" RIGHTS_SERVICE_SID L")", CERT_STORE_MAY},
        {L"D:P(A;;GW;;;" RIGHTS_SERVICE_SID L")", CERT_STORE_MAY_NOT},       /* not to read */
        {L"D:P(A;IOOICI;GR;;;" RIGHTS_SERVICE_SID L")", CERT_STORE_MAY_NOT}, /* for what is below */
        {L"D:P(D;;GR;;;" RIGHTS_SERVICE_SID L")(A;;GR;;;" RIGHTS_SERVICE_SID L")",
         CERT_STORE_MAY_NOT},
        {L"D:P(A;;GR;;;WD)", CERT_STORE_MAY}, /* everyone */
        {L"D:P(A;;GR;;;AU)", CERT_STORE_MAY},
        {L"D:P(A;;GR;;;S-1-5-80-0)", CERT_STORE_MAY},
        {L"D:P(A;;GR;;;NS)", CERT_STORE_MAY_NOT},                 /* another account */
        {L"D:P(A;;GR;;;S-1-5-80-1-2-3-4-5)", CERT_STORE_MAY_NOT}, /* another service */
        {L"D:P", CERT_STORE_MAY_NOT},
    };
    fake = (struct fake){0};
    struct cert_handle h = open_it();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        set_descriptor(cases[i].sddl);
        if (cert_handle_right(&h, &e) != cases[i].right)
            fail_msg("case %u", (unsigned)i);
    }
    struct err e = {0};
    fake.get_status = NTE_PERM;
    assert_int_equal(cert_handle_right(&h, &e), CERT_STORE_CANNOT_TELL);
    assert_non_null(strstr(e.text, "NCryptGetProperty"));
    cert_handle_close(&h);
}

static void the_right_is_added_to_those_that_there_are(void **state)
{
    (void)state;
    struct err e = {0};
    fake = (struct fake){0};
    struct cert_handle h = open_it();
    set_descriptor(L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GR;;;NS)");
    assert_int_equal(cert_handle_grant(&h, &e), CERT_STORE_OK);
    assert_int_equal(cert_handle_right(&h, &e), CERT_STORE_MAY);
    LPWSTR text = NULL;
    assert_true(ConvertSecurityDescriptorToStringSecurityDescriptorW(
        fake.descriptor, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text, NULL));
    assert_non_null(wcsstr(text, L";;;SY)"));
    assert_non_null(wcsstr(text, L";;;BA)"));
    assert_non_null(wcsstr(text, L";;;NS)"));
    assert_non_null(wcsstr(text, RIGHTS_SERVICE_SID));
    LocalFree(text);
    DWORD once = fake.descriptor_n;
    assert_int_equal(cert_handle_grant(&h, &e), CERT_STORE_OK); /* again: no second entry */
    assert_int_equal(fake.descriptor_n, once);
    cert_handle_close(&h);
}

static void a_right_that_cannot_be_given_says_which_call_failed(void **state)
{
    (void)state;
    fake = (struct fake){0};
    struct cert_handle h = open_it();
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct err e = {0};
        set_descriptor(L"D:P(A;;GA;;;SY)");
        fake.set_status = (SECURITY_STATUS)failures[i].code;
        assert_int_equal(cert_handle_grant(&h, &e), failures[i].result);
        assert_non_null(strstr(e.text, "NCryptSetProperty"));
        fake.set_status = 0;
        fake.get_status = (SECURITY_STATUS)failures[i].code;
        assert_int_equal(cert_handle_grant(&h, &e), failures[i].result);
        assert_non_null(strstr(e.text, "NCryptGetProperty"));
        fake.get_status = 0;
    }
    cert_handle_close(&h);
}

/* ---- chains ---- */

static void every_verdict_of_the_chain_engine_has_its_word(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        enum cert_chain_verdict verdict;
    } codes[] = {
        {0x800b0101, CERT_CHAIN_EXPIRED},    {0x800b0102, CERT_CHAIN_EXPIRED},
        {0x800b010a, CERT_CHAIN_INCOMPLETE}, {0x800b0109, CERT_CHAIN_UNTRUSTED},
        {0x800b0112, CERT_CHAIN_UNTRUSTED},  {0x800b010d, CERT_CHAIN_UNTRUSTED},
        {0x800b0111, CERT_CHAIN_UNTRUSTED},  {0x800b010f, CERT_CHAIN_NAME},
        {0x800b0114, CERT_CHAIN_NAME},       {0x800b0110, CERT_CHAIN_PURPOSE},
        {0x800b0106, CERT_CHAIN_PURPOSE},    {0x800b0103, CERT_CHAIN_PURPOSE},
        {0x80096019, CERT_CHAIN_PURPOSE},    {0x800b010c, CERT_CHAIN_REVOKED},
        {0x80092010, CERT_CHAIN_REVOKED},    {0x80096004, CERT_CHAIN_SIGNATURE},
        {0x80092012, CERT_CHAIN_FAILED},     {0x12345678, CERT_CHAIN_FAILED},
    };
    char reason[CERT_CHAIN_REASON_MAX];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (cert_chain_of_code(codes[i].code, reason) != codes[i].verdict)
            fail_msg("0x%08lx", (unsigned long)codes[i].code);
        assert_true(reason[0] != '\0');
    }
    assert_int_equal(cert_chain_of_status(0, reason), CERT_CHAIN_TRUSTED);
    for (unsigned bit = 0; bit < 32; bit++) { /* nothing that is set is trust */
        assert_int_not_equal(cert_chain_of_status(1U << bit, reason), CERT_CHAIN_TRUSTED);
        assert_true(reason[0] != '\0');
    }
    assert_int_equal(cert_chain_of_status(0x20, reason), CERT_CHAIN_UNTRUSTED);
    assert_int_equal(cert_chain_of_status(0x10000, reason), CERT_CHAIN_INCOMPLETE);
    assert_int_equal(cert_chain_of_status(0x1, reason), CERT_CHAIN_EXPIRED);
    assert_int_equal(cert_chain_of_status(0x8, reason), CERT_CHAIN_SIGNATURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cng_key_is_asked_in_the_form_that_its_page_says),
        cmocka_unit_test(every_failure_of_a_signature_and_of_opening_has_its_result),
        cmocka_unit_test(no_number_is_a_signature),
        cmocka_unit_test(a_key_that_the_system_lends_is_not_freed),
        cmocka_unit_test(a_capi_key_is_opened_again_by_the_provider_that_knows_sha_256),
        cmocka_unit_test(who_may_read_a_key_is_told_of_its_list),
        cmocka_unit_test(the_right_is_added_to_those_that_there_are),
        cmocka_unit_test(a_right_that_cannot_be_given_says_which_call_failed),
        cmocka_unit_test(every_verdict_of_the_chain_engine_has_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
