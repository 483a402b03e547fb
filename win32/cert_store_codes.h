/* cert_store_codes.h - what the failures of Windows' keys and of its chain engine mean for us.
 * PURE but for the texts. */
#ifndef POSTERN_WIN32_CERT_STORE_CODES_H
#define POSTERN_WIN32_CERT_STORE_CODES_H

#include "platform/cert_chain.h"
#include "platform/cert_store.h"

#include <stdint.h>

/* code: GetLastError(), or a SECURITY_STATUS of NCrypt, that is no success. Never CERT_STORE_OK:
 * what is not known here is CERT_STORE_FAILED. */
enum cert_store_result cert_store_of_code(uint32_t code);

/* Fills the error: "CALL: the system's text (0x80090016)", with what we know besides. */
enum cert_store_result cert_store_failed(uint32_t code, const char *call, struct err *e);

/* code: CERT_CHAIN_POLICY_STATUS.dwError that is not 0. Never CERT_CHAIN_TRUSTED. */
enum cert_chain_verdict cert_chain_of_code(uint32_t code, char reason[CERT_CHAIN_REASON_MAX]);

/* errors: CERT_TRUST_STATUS.dwErrorStatus of the whole chain. 0 alone is CERT_CHAIN_TRUSTED. */
enum cert_chain_verdict cert_chain_of_status(uint32_t errors, char reason[CERT_CHAIN_REASON_MAX]);

#endif
