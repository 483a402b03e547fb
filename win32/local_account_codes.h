/* local_account_codes.h - what the failure codes of LogonUserW mean for us. PURE but for the texts.
 */
#ifndef POSTERN_WIN32_LOCAL_ACCOUNT_CODES_H
#define POSTERN_WIN32_LOCAL_ACCOUNT_CODES_H

#include "platform/local_account.h"

#include <stdint.h>

/* code: GetLastError() after LogonUserW has failed. Never LOCAL_ACCOUNT_OK: what is not known here
 * is LOCAL_ACCOUNT_UNAVAILABLE with the system's text. */
enum local_account_result local_account_of_code(uint32_t code, char text[LOCAL_ACCOUNT_TEXT_MAX]);

/* sid: a PSID. The machine's or the domain's guest (RID 501), the anonymous logon, nobody. */
bool local_account_is_guest(void *sid);

#endif
