/* err.h - why a function failed, in a form that already is the SMTP answer and the retry decision.
 * Owner: the caller (a struct on its stack); no allocation, no release. Threads: none of its own.
 */
#ifndef POSTERN_BASE_ERR_H
#define POSTERN_BASE_ERR_H

#include "base/compiler.h"

#include <stdarg.h>
#include <stdbool.h>

enum err_class {
    ERR_NONE, /* nothing failed yet */
    ERR_TEMP, /* try again later: 4xx, keep the message, exit code 74 */
    ERR_PERM, /* will not get better by waiting: 5xx, exit code of the input at fault */
    ERR_BUG,  /* our own contract was broken: 4xx outside, loud inside, exit code 70 */
};

struct err {
    enum err_class class;
    char text[512]; /* "object: act: cause", one line, cut to fit */
};

/* Fills *e (which may be NULL) and returns false, so that a failing place reads
 * `return err_set(e, ERR_TEMP, "spool %s: cannot create: %s", path, cause);`. */
bool err_set(struct err *e, enum err_class class, const char *format, ...) PRINTF_LIKE(3, 4);
bool err_setv(struct err *e, enum err_class class, const char *format, va_list args);

/* Puts "context: " before the text that is there; returns false. The class stays. */
bool err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
