/* sspi_codes.h - what the failure codes of AcceptSecurityContext mean for us. PURE but for the
 * texts. */
#ifndef POSTERN_WIN32_SSPI_CODES_H
#define POSTERN_WIN32_SSPI_CODES_H

#include "platform/integrated_auth.h"

#include <stdint.h>

/* code: a SECURITY_STATUS that is a failure. Never CONTINUE or DONE: what is not known here is
 * INTEGRATED_UNAVAILABLE, so that nobody is told that a proof was wrong which nobody has judged. */
enum integrated_result sspi_result_of(uint32_t code, const char *call,
                                      char reason[INTEGRATED_REASON_MAX]);

#endif
