/* cert_name.h - how people name a certificate of a store, and the store. Threads: any. */
#ifndef POSTERN_BASE_CERT_NAME_H
#define POSTERN_BASE_CERT_NAME_H

#include "base/span.h"

enum { THUMBPRINT_BYTES = 20, THUMBPRINT_TEXT_MAX = 2 * THUMBPRINT_BYTES + 1 };

/* The SHA-1 of the certificate. Windows shows it with spaces, and its dialog puts an invisible mark
 * (U+200E) in front that is copied along. Takes 40 hexadecimal digits in either case; spaces
 * (no-break ones too), colons, hyphens and invisible marks between them are skipped. Anything else,
 * or another number of digits: false. */
bool thumbprint_parse(const char *text, uint8_t out[THUMBPRINT_BYTES]);

/* Forty capitals, as Windows writes it. */
void thumbprint_format(const uint8_t thumbprint[THUMBPRINT_BYTES], char out[THUMBPRINT_TEXT_MAX]);

/* LocalMachine/NAME or CurrentUser/NAME, in either case, with a slash or a backslash. machine: the
 * first; name: of text. Anything else: false. */
bool cert_store_name(const char *text, bool *machine, struct span *name);

#endif
