#include "base/err.h"

#include <stdio.h>
#include <string.h>

bool err_setv(struct err *e, enum err_class class, const char *format, va_list args)
{
    if (e == NULL)
        return false;
    e->class = class;
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    return false;
}

bool err_set(struct err *e, enum err_class class, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)err_setv(e, class, format, args);
    va_end(args);
    return false;
}

bool err_wrap(struct err *e, const char *format, ...)
{
    if (e == NULL)
        return false;
    char old[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof e->text - 1)
        (void)snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old);
    return false;
}
