#include "win32/cert_store_codes.h"

#include "win32/text.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>
#include <wincrypt.h>
#include <winerror.h>

#define CODE(name) ((uint32_t)(name))

static const struct {
    uint32_t code;
    enum cert_store_result result;
    const char *hint; /* what the system's text leaves out; NULL: nothing */
} store_codes[] = {
    /* it is there, and not for us */
    {ERROR_ACCESS_DENIED, CERT_STORE_LOCKED, NULL},
    {CODE(E_ACCESSDENIED), CERT_STORE_LOCKED, NULL},
    {CODE(NTE_PERM), CERT_STORE_LOCKED, NULL},
    {ERROR_PRIVILEGE_NOT_HELD, CERT_STORE_LOCKED, NULL},
    /* CryptoAPI says the same of a container that is gone and of one that it may not open */
    {CODE(NTE_BAD_KEYSET), CERT_STORE_LOCKED, "it is gone, or this account may not read it"},
    {CODE(NTE_BAD_KEYSET_PARAM), CERT_STORE_LOCKED, "it is gone, or this account may not read it"},
    /* it is not there */
    {CODE(CRYPT_E_NO_KEY_PROPERTY), CERT_STORE_ABSENT, NULL},
    {CODE(CRYPT_E_NOT_FOUND), CERT_STORE_ABSENT, NULL},
    {CODE(NTE_NOT_FOUND), CERT_STORE_ABSENT, NULL},
    {CODE(NTE_NO_KEY), CERT_STORE_ABSENT, NULL},
    {ERROR_FILE_NOT_FOUND, CERT_STORE_ABSENT, NULL},
    {ERROR_PATH_NOT_FOUND, CERT_STORE_ABSENT, NULL},
    /* it asks for a PIN or a card, and a service has nobody to ask */
    {CODE(NTE_SILENT_CONTEXT), CERT_STORE_UNUSABLE, "it wants to ask somebody"},
    {CODE(NTE_UI_REQUIRED), CERT_STORE_UNUSABLE, "it wants to ask somebody"},
    {ERROR_CANCELLED, CERT_STORE_UNUSABLE, "it wants to ask somebody"},
    {CODE(SCARD_W_WRONG_CHV), CERT_STORE_UNUSABLE, "it wants a PIN"},
    {CODE(SCARD_W_CHV_BLOCKED), CERT_STORE_UNUSABLE, "its PIN is blocked"},
    {CODE(SCARD_W_CARD_NOT_AUTHENTICATED), CERT_STORE_UNUSABLE, "it wants a PIN"},
    {CODE(SCARD_W_CANCELLED_BY_USER), CERT_STORE_UNUSABLE, "it wants a PIN"},
    {CODE(SCARD_E_NO_SMARTCARD), CERT_STORE_UNUSABLE, NULL},
    {CODE(SCARD_W_REMOVED_CARD), CERT_STORE_UNUSABLE, NULL},
    {CODE(SCARD_E_NO_READERS_AVAILABLE), CERT_STORE_UNUSABLE, NULL},
    /* it cannot do what is asked */
    {CODE(NTE_BAD_ALGID), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_NOT_SUPPORTED), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_FLAGS), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_INVALID_PARAMETER), CERT_STORE_UNUSABLE, NULL},
    {ERROR_INVALID_PARAMETER, CERT_STORE_UNUSABLE, NULL},
    {ERROR_NOT_SUPPORTED, CERT_STORE_UNUSABLE, NULL},
    {ERROR_CALL_NOT_IMPLEMENTED, CERT_STORE_UNUSABLE, NULL},
    {CODE(E_NOTIMPL), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_HASH), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_LEN), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_TYPE), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_UID), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_KEY), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_KEY_STATE), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_DATA), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_KEYSET_NOT_DEF), CERT_STORE_UNUSABLE, "its provider is not installed"},
    {CODE(NTE_KEYSET_ENTRY_BAD), CERT_STORE_UNUSABLE, "it is damaged"},
    {CODE(NTE_BAD_PROVIDER), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_PROV_TYPE_NOT_DEF), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_PROV_TYPE_NO_MATCH), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_PROV_DLL_NOT_FOUND), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_PROVIDER_DLL_FAIL), CERT_STORE_UNUSABLE, NULL},
    {CODE(NTE_BAD_SIGNATURE), CERT_STORE_UNUSABLE, NULL},
    /* perhaps later */
    {CODE(NTE_NO_MEMORY), CERT_STORE_FAILED, NULL},
    {ERROR_NOT_ENOUGH_MEMORY, CERT_STORE_FAILED, NULL},
    {ERROR_OUTOFMEMORY, CERT_STORE_FAILED, NULL},
    {CODE(NTE_FAIL), CERT_STORE_FAILED, NULL},
    {CODE(NTE_INTERNAL_ERROR), CERT_STORE_FAILED, NULL},
    {CODE(NTE_DEVICE_NOT_READY), CERT_STORE_FAILED, NULL},
    {ERROR_BUSY, CERT_STORE_FAILED, NULL},
    {RPC_S_SERVER_UNAVAILABLE, CERT_STORE_FAILED, "the service KeyIso does not answer"},
    {RPC_S_CALL_FAILED, CERT_STORE_FAILED, "the service KeyIso does not answer"},
    {RPC_S_SERVER_TOO_BUSY, CERT_STORE_FAILED, "the service KeyIso does not answer"},
};

static size_t find(uint32_t code)
{
    size_t i = 0;
    while (i < sizeof store_codes / sizeof *store_codes && store_codes[i].code != code)
        i++;
    return i;
}

enum cert_store_result cert_store_of_code(uint32_t code)
{
    size_t i = find(code);
    return i < sizeof store_codes / sizeof *store_codes ? store_codes[i].result : CERT_STORE_FAILED;
}

/* The numbers of these calls are known in hexadecimal. */
static const char *text_of(uint32_t code, char out[SYSTEM_TEXT_MAX])
{
    char decimal[16];
    (void)system_text(code, out);
    (void)snprintf(decimal, sizeof decimal, " (%lu)", (unsigned long)code);
    size_t n = strlen(out), end = strlen(decimal);
    if (code > 0xffff && n >= end && strcmp(out + n - end, decimal) == 0)
        (void)snprintf(out + n - end, SYSTEM_TEXT_MAX - (n - end), " (0x%08lx)",
                       (unsigned long)code);
    return out;
}

enum cert_store_result cert_store_failed(uint32_t code, const char *call, struct err *e)
{
    char text[SYSTEM_TEXT_MAX];
    size_t i = find(code);
    enum cert_store_result result = cert_store_of_code(code);
    const char *hint = i < sizeof store_codes / sizeof *store_codes && store_codes[i].hint != NULL
                           ? store_codes[i].hint
                           : "";
    (void)err_set(e, result == CERT_STORE_FAILED ? ERR_TEMP : ERR_PERM, "%s: %s%s%s", call,
                  text_of(code, text), hint[0] == '\0' ? "" : ": ", hint);
    return result;
}

static const struct {
    uint32_t code;
    enum cert_chain_verdict verdict;
} chain_codes[] = {
    {CODE(CERT_E_EXPIRED), CERT_CHAIN_EXPIRED},
    {CODE(CERT_E_VALIDITYPERIODNESTING), CERT_CHAIN_EXPIRED},
    {CODE(CERT_E_CHAINING), CERT_CHAIN_INCOMPLETE},
    {CODE(CERT_E_UNTRUSTEDROOT), CERT_CHAIN_UNTRUSTED},
    {CODE(CERT_E_UNTRUSTEDCA), CERT_CHAIN_UNTRUSTED},
    {CODE(CERT_E_UNTRUSTEDTESTROOT), CERT_CHAIN_UNTRUSTED},
    {CODE(TRUST_E_EXPLICIT_DISTRUST), CERT_CHAIN_UNTRUSTED},
    {CODE(CERT_E_CN_NO_MATCH), CERT_CHAIN_NAME},
    {CODE(CERT_E_INVALID_NAME), CERT_CHAIN_NAME},
    {CODE(CERT_E_WRONG_USAGE), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_PURPOSE), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_ROLE), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_PATHLENCONST), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_CRITICAL), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_INVALID_POLICY), CERT_CHAIN_PURPOSE},
    {CODE(TRUST_E_BASIC_CONSTRAINTS), CERT_CHAIN_PURPOSE},
    {CODE(CERT_E_REVOKED), CERT_CHAIN_REVOKED},
    {CODE(CRYPT_E_REVOKED), CERT_CHAIN_REVOKED},
    {CODE(TRUST_E_CERT_SIGNATURE), CERT_CHAIN_SIGNATURE},
};

enum cert_chain_verdict cert_chain_of_code(uint32_t code, char reason[CERT_CHAIN_REASON_MAX])
{
    char text[SYSTEM_TEXT_MAX];
    (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "%s", text_of(code, text));
    for (size_t i = 0; i < sizeof chain_codes / sizeof *chain_codes; i++)
        if (chain_codes[i].code == code)
            return chain_codes[i].verdict;
    return CERT_CHAIN_FAILED;
}

/* The first that is found is told; a bit that is not here is a failure all the same. */
static const struct {
    uint32_t bit;
    enum cert_chain_verdict verdict;
    const char *text;
} status_bits[] = {
    {CERT_TRUST_IS_NOT_SIGNATURE_VALID, CERT_CHAIN_SIGNATURE, "a signature is wrong"},
    {CERT_TRUST_IS_REVOKED, CERT_CHAIN_REVOKED, "a certificate is revoked"},
    {CERT_TRUST_IS_EXPLICIT_DISTRUST, CERT_CHAIN_UNTRUSTED, "a certificate is distrusted here"},
    {CERT_TRUST_IS_PARTIAL_CHAIN, CERT_CHAIN_INCOMPLETE, "an issuer is not to be found"},
    {CERT_TRUST_IS_UNTRUSTED_ROOT, CERT_CHAIN_UNTRUSTED, "the root is not trusted here"},
    {CERT_TRUST_IS_NOT_TIME_VALID, CERT_CHAIN_EXPIRED, "a certificate is not valid now"},
    {CERT_TRUST_IS_NOT_VALID_FOR_USAGE, CERT_CHAIN_PURPOSE, "a certificate is not for this use"},
    {CERT_TRUST_INVALID_BASIC_CONSTRAINTS, CERT_CHAIN_PURPOSE, "an issuer may not issue"},
    {CERT_TRUST_INVALID_POLICY_CONSTRAINTS, CERT_CHAIN_PURPOSE, "a policy does not allow it"},
    {CERT_TRUST_INVALID_NAME_CONSTRAINTS, CERT_CHAIN_NAME, "an issuer may not issue for the name"},
    {CERT_TRUST_IS_CYCLIC, CERT_CHAIN_INCOMPLETE, "the chain bites its tail"},
};

enum cert_chain_verdict cert_chain_of_status(uint32_t errors, char reason[CERT_CHAIN_REASON_MAX])
{
    reason[0] = '\0';
    if (errors == 0)
        return CERT_CHAIN_TRUSTED;
    for (size_t i = 0; i < sizeof status_bits / sizeof *status_bits; i++)
        if ((errors & status_bits[i].bit) != 0) {
            (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "%s (0x%08lx)", status_bits[i].text,
                           (unsigned long)errors);
            return status_bits[i].verdict;
        }
    (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "the chain engine's status is 0x%08lx",
                   (unsigned long)errors);
    return CERT_CHAIN_FAILED;
}
