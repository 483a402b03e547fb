/* The Windows side of platform/directory.h. Not in this version: Windows' own LDAP library is not
 * asked yet, so that the backend ldap is not ready and lets nobody in. */
#include "platform/directory.h"

#include <stdio.h>
#include <stdlib.h>

struct directory {
    char nothing;
};

bool directory_open(const struct directory_options *options, struct directory **out, struct err *e)
{
    (void)options;
    *out = calloc(1, sizeof **out);
    return *out != NULL || err_set(e, ERR_TEMP, "no memory");
}

void directory_close(struct directory **d)
{
    if (d == NULL)
        return;
    free(*d);
    *d = NULL;
}

bool directory_ready(const struct directory *d, struct err *e)
{
    (void)d;
    return err_set(e, ERR_PERM, "backend: ldap is not in this version on Windows");
}

bool directory_reach(struct directory *d, struct err *e)
{
    return directory_ready(d, e);
}

enum directory_outcome directory_bind(struct directory *d, const char *name, struct span password,
                                      struct directory_session **s, struct directory_word *word)
{
    (void)d;
    (void)name;
    (void)password;
    *s = NULL;
    *word = (struct directory_word){.code = DIRECTORY_SERVER_UNAVAILABLE};
    (void)snprintf(word->text, sizeof word->text, "not in this version on Windows");
    return DIRECTORY_NO_ANSWER;
}

void directory_unbind(struct directory_session **s)
{
    if (s != NULL)
        *s = NULL; /* none is ever given out */
}

bool directory_who_am_i(struct directory_session *s, char out[DIRECTORY_NAME_MAX], struct err *e)
{
    (void)s;
    out[0] = 0;
    return err_set(e, ERR_BUG, "directory: nobody is bound");
}

bool directory_find(struct directory_session *s, const struct directory_search *what,
                    directory_found *found, void *context, bool *more, struct err *e)
{
    (void)s;
    (void)what;
    (void)found;
    (void)context;
    *more = false;
    return err_set(e, ERR_BUG, "directory: nobody is bound");
}
