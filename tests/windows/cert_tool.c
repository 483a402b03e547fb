/* cert_tool - puts certificates into the machine's store and takes them out again, for the tests;
 * what certutil and PowerShell do on a real Windows.
 *     cert_tool import FILE.pfx PASSWORD [STORE]   to LocalMachine\STORE, "My" if none is given
 *     cert_tool import-lost FILE.pfx PASSWORD      the same without its key's container
 *     cert_tool trust FILE.cer                     to LocalMachine\Root
 *     cert_tool delete STORE NAME                  all whose subject holds NAME
 *     cert_tool lose-key NAME                      the certificate stays, the key's container goes
 *     cert_tool list STORE
 */
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wincrypt.h>

static int failed(const char *call)
{
    (void)fprintf(stderr, "%s: 0x%08lx\n", call, (unsigned long)GetLastError());
    return 1;
}

static HCERTSTORE store_of(const char *name)
{
    wchar_t wide[64];
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, 64) == 0)
        return NULL;
    return CertOpenStore(CERT_STORE_PROV_SYSTEM_REGISTRY_W, 0, 0, CERT_SYSTEM_STORE_LOCAL_MACHINE,
                         wide);
}

static BYTE *read_file(const char *path, DWORD *n)
{
    static BYTE bytes[65536];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    *n = (DWORD)fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    return bytes;
}

/* A container of the machine for each certificate, named by its thumbprint: Wine's import puts
 * every key into one and the same. */
static BOOL give_container(PCCERT_CONTEXT c)
{
    static BYTE room[8192], key[8192];
    static wchar_t name[64], provider[] = MS_ENHANCED_PROV_W;
    const CRYPT_KEY_PROV_INFO *old = (void *)room;
    DWORD n = sizeof room, key_n = sizeof key, hash_n = 20;
    BYTE hash[20];
    HCRYPTPROV source = 0, target = 0;
    HCRYPTKEY one = 0, other = 0;
    if (!CertGetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, room, &n))
        return TRUE; /* an authority's, without a key */
    if (!CertGetCertificateContextProperty(c, CERT_SHA1_HASH_PROP_ID, hash, &hash_n))
        return FALSE;
    (void)wcscpy(name, L"postern-");
    for (int i = 0; i < 20; i++)
        (void)swprintf(name + 8 + 2 * i, 3, L"%02x", hash[i]);
    CRYPT_KEY_PROV_INFO info = {.pwszContainerName = name,
                                .pwszProvName = provider,
                                .dwProvType = PROV_RSA_FULL,
                                .dwFlags = CRYPT_MACHINE_KEYSET,
                                .dwKeySpec = AT_KEYEXCHANGE};
    (void)CryptAcquireContextW(&target, name, provider, PROV_RSA_FULL,
                               CRYPT_DELETEKEYSET | CRYPT_MACHINE_KEYSET);
    /* Wine's own provider information calls AT_KEYEXCHANGE and AT_SIGNATURE 3 */
    return CryptAcquireContextW(&source, old->pwszContainerName, old->pwszProvName, old->dwProvType,
                                CRYPT_SILENT | (old->dwFlags & CRYPT_MACHINE_KEYSET)) &&
           CryptGetUserKey(source, AT_KEYEXCHANGE, &one) &&
           CryptExportKey(one, 0, PRIVATEKEYBLOB, 0, key, &key_n) &&
           CryptAcquireContextW(&target, name, provider, PROV_RSA_FULL,
                                CRYPT_NEWKEYSET | CRYPT_MACHINE_KEYSET) &&
           CryptImportKey(target, key, key_n, 0, 0, &other) && CryptDestroyKey(other) &&
           CryptDestroyKey(one) && CryptReleaseContext(target, 0) &&
           CryptReleaseContext(source, 0) &&
           CertSetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, 0, &info);
}

/* What is named there is not there any more: a key that cannot be read looks the same from here. */
static void lose_container(PCCERT_CONTEXT c)
{
    static BYTE room[8192];
    DWORD n = sizeof room;
    HCRYPTPROV gone = 0;
    const CRYPT_KEY_PROV_INFO *info = (void *)room;
    if (CertGetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, room, &n))
        (void)CryptAcquireContextW(&gone, info->pwszContainerName, info->pwszProvName,
                                   info->dwProvType, CRYPT_DELETEKEYSET | CRYPT_MACHINE_KEYSET);
}

static int import(const char *path, const char *password, const char *store, int lost)
{
    wchar_t wide[64];
    CRYPT_DATA_BLOB blob = {0};
    blob.pbData = read_file(path, &blob.cbData);
    if (blob.pbData == NULL || MultiByteToWideChar(CP_UTF8, 0, password, -1, wide, 64) == 0)
        return failed("read");
    HCERTSTORE from = PFXImportCertStore(&blob, wide, CRYPT_USER_KEYSET | CRYPT_EXPORTABLE),
               to = store_of(store);
    if (from == NULL || to == NULL)
        return failed("PFXImportCertStore");
    PCCERT_CONTEXT c = NULL;
    while ((c = CertEnumCertificatesInStore(from, c)) != NULL) {
        BOOL ok = give_container(c);
        if (lost)
            lose_container(c);
        if (!ok || !CertAddCertificateContextToStore(to, c, CERT_STORE_ADD_REPLACE_EXISTING, NULL))
            return failed("CertAddCertificateContextToStore");
    }
    (void)CertCloseStore(from, 0);
    return CertCloseStore(to, 0) ? 0 : failed("CertCloseStore");
}

static int trust(const char *path)
{
    DWORD n = 0;
    BYTE *bytes = read_file(path, &n);
    HCERTSTORE to = store_of("Root");
    if (bytes == NULL || to == NULL ||
        !CertAddEncodedCertificateToStore(to, X509_ASN_ENCODING, bytes, n,
                                          CERT_STORE_ADD_REPLACE_EXISTING, NULL))
        return failed("CertAddEncodedCertificateToStore");
    return CertCloseStore(to, 0) ? 0 : failed("CertCloseStore");
}

static PCCERT_CONTEXT next(HCERTSTORE store, const char *name, PCCERT_CONTEXT before)
{
    return CertFindCertificateInStore(store, X509_ASN_ENCODING, 0, CERT_FIND_SUBJECT_STR_A, name,
                                      before);
}

static int delete_all(const char *store, const char *name)
{
    HCERTSTORE it = store_of(store);
    PCCERT_CONTEXT c;
    while (it != NULL && (c = next(it, name, NULL)) != NULL)
        if (!CertDeleteCertificateFromStore(c))
            return failed("CertDeleteCertificateFromStore");
    return it != NULL && CertCloseStore(it, 0) ? 0 : failed("CertOpenStore");
}

static int lose_key(const char *name)
{
    HCERTSTORE it = store_of("My");
    PCCERT_CONTEXT c = NULL;
    while (it != NULL && (c = next(it, name, c)) != NULL)
        lose_container(c);
    return it != NULL ? 0 : failed("CertOpenStore");
}

static int list(const char *store)
{
    HCERTSTORE it = store_of(store);
    PCCERT_CONTEXT c = NULL;
    while (it != NULL && (c = CertEnumCertificatesInStore(it, c)) != NULL) {
        char name[256];
        DWORD n = 0;
        (void)CertGetNameStringA(c, CERT_NAME_SIMPLE_DISPLAY_TYPE, 0, NULL, name, sizeof name);
        printf("%s%s\n", name,
               CertGetCertificateContextProperty(c, CERT_KEY_PROV_INFO_PROP_ID, NULL, &n) ? " (key)"
                                                                                          : "");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "import") == 0)
        return import(argv[2], argv[3], argc > 4 ? argv[4] : "My", 0);
    if (argc == 4 && strcmp(argv[1], "import-lost") == 0)
        return import(argv[2], argv[3], "My", 1);
    if (argc == 3 && strcmp(argv[1], "trust") == 0)
        return trust(argv[2]);
    if (argc == 4 && strcmp(argv[1], "delete") == 0)
        return delete_all(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "lose-key") == 0)
        return lose_key(argv[2]);
    if (argc == 3 && strcmp(argv[1], "list") == 0)
        return list(argv[2]);
    (void)fprintf(stderr, "usage: see the source\n");
    return 64;
}
