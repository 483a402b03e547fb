/* checks.h - what the schema table cannot say: how options go together. Used by config.c, after
 * binding. Completes what is left out (listeners, account domains, what domains inherit). */
#ifndef POSTERN_CONFIG_CHECKS_H
#define POSTERN_CONFIG_CHECKS_H

#include "config/bind.h"

/* False only without memory. */
bool checks_run(struct binder *b, struct config *c);

#endif
