/* The Windows side of platform/cert_chain.h: the chain engine of the machine, then its policy for
 * servers (CERT_CHAIN_POLICY_SSL) with the name. Revocation is not asked for, as on other systems:
 * a list that cannot be fetched would hold up the mail. */
#include "platform/cert_chain.h"

#include "win32/cert_store_codes.h"
#include "win32/text.h"

#define CERT_CHAIN_PARA_HAS_EXTRA_FIELDS
#include <windows.h>

#include <stdio.h>
#include <wincrypt.h>

enum { HOST_MAX = 256 };

static enum cert_chain_verdict failed(const char *call, char reason[CERT_CHAIN_REASON_MAX])
{
    char text[SYSTEM_TEXT_MAX];
    DWORD code = GetLastError();
    (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "%s: %s", call, system_text(code, text));
    return CERT_CHAIN_FAILED;
}

static enum cert_chain_verdict judge(PCCERT_CHAIN_CONTEXT built, wchar_t *host,
                                     char reason[CERT_CHAIN_REASON_MAX])
{
    SSL_EXTRA_CERT_CHAIN_POLICY_PARA server = {
        .cbSize = sizeof server, .dwAuthType = AUTHTYPE_SERVER, .pwszServerName = host};
    CERT_CHAIN_POLICY_PARA policy = {.cbSize = sizeof policy, .pvExtraPolicyPara = &server};
    CERT_CHAIN_POLICY_STATUS status = {.cbSize = sizeof status};
    /* What the engine found counts first: a policy may forgive it, Wine's an issuer that is
     * missing. */
    enum cert_chain_verdict verdict =
        cert_chain_of_status(built->TrustStatus.dwErrorStatus, reason);
    if (verdict != CERT_CHAIN_TRUSTED)
        return verdict;
    if (!CertVerifyCertificateChainPolicy(CERT_CHAIN_POLICY_SSL, built, &policy, &status))
        return failed("CertVerifyCertificateChainPolicy", reason);
    return status.dwError == 0 ? CERT_CHAIN_TRUSTED : cert_chain_of_code(status.dwError, reason);
}

static enum cert_chain_verdict build(PCCERT_CONTEXT first, HCERTSTORE others, DWORD flags,
                                     wchar_t *host, char reason[CERT_CHAIN_REASON_MAX])
{
    char usage[] = szOID_PKIX_KP_SERVER_AUTH;
    LPSTR usages[] = {usage};
    CERT_CHAIN_PARA wanted = {
        .cbSize = sizeof wanted,
        .RequestedUsage = {.dwType = USAGE_MATCH_TYPE_OR, .Usage = {1, usages}},
        .dwUrlRetrievalTimeout = CERT_CHAIN_PATIENCE_MS};
    PCCERT_CHAIN_CONTEXT built = NULL;
    reason[0] = '\0';
    if (!CertGetCertificateChain(HCCE_LOCAL_MACHINE, first, NULL, others, &wanted, flags, NULL,
                                 &built))
        return failed("CertGetCertificateChain", reason);
    enum cert_chain_verdict verdict = judge(built, host, reason);
    CertFreeCertificateChain(built);
    return verdict;
}

static enum cert_chain_verdict verify(const struct span *certificates, size_t n, const char *host,
                                      bool patient, char reason[CERT_CHAIN_REASON_MAX])
{
    wchar_t wide[HOST_MAX] = L"";
    HCERTSTORE others = CertOpenStore(CERT_STORE_PROV_MEMORY, 0, 0, 0, NULL);
    PCCERT_CONTEXT first = NULL;
    enum cert_chain_verdict verdict = CERT_CHAIN_FAILED;
    reason[0] = '\0';
    if (host != NULL && !text_to_wide(host, wide, HOST_MAX)) {
        verdict = failed("host name", reason);
        goto done;
    }
    if (others == NULL) {
        verdict = failed("CertOpenStore", reason);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        if (!CertAddEncodedCertificateToStore(others, X509_ASN_ENCODING, certificates[i].p,
                                              (DWORD)certificates[i].n, CERT_STORE_ADD_ALWAYS,
                                              i == 0 ? &first : NULL) &&
            i == 0) {
            verdict = failed("CertAddEncodedCertificateToStore", reason);
            goto done;
        }
    if (first == NULL) {
        (void)snprintf(reason, CERT_CHAIN_REASON_MAX, "the server showed no certificate");
        goto done;
    }
    wchar_t *asked = host == NULL ? NULL : wide;
    verdict = build(first, others, CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL, asked, reason);
    /* An intermediate that the server forgot, or a root that Windows Update has and we have not
     * yet: the engine fetches either, and keeps it. */
    if (patient && (verdict == CERT_CHAIN_INCOMPLETE || verdict == CERT_CHAIN_UNTRUSTED))
        verdict = build(first, others, 0, asked, reason);
done:
    if (first != NULL)
        (void)CertFreeCertificateContext(first);
    if (others != NULL)
        (void)CertCloseStore(others, 0);
    return verdict;
}

cert_chain_verify *cert_chain_system(void)
{
    return verify;
}
