/* tls_files.h - certificates and keys made at test time, in a folder of their own under /tmp. */
#ifndef POSTERN_SUPPORT_TLS_FILES_H
#define POSTERN_SUPPORT_TLS_FILES_H

#include <stddef.h>

struct tls_files {
    char folder[64];
    char ca[128];                                /* the CA's certificate */
    char main_certificate[128], main_key[128];   /* ECDSA; main.test, 127.0.0.1 */
    char other_certificate[128], other_key[128]; /* RSA; other.test, *.wild.test */
    char twin_certificate[128];                  /* other_key's; main.test */
    char locked_key[128];                        /* main_key under a password */
    char expired_certificate[128];               /* main_key's, over since yesterday */
};

void tls_files_make(struct tls_files *f); /* ends the test program when it cannot */
void tls_files_remove(struct tls_files *f);

#endif
