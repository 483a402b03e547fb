/* sasl_library.h - libsasl2 is one for the process: this initialises it.
 * Owner: nobody; it lives until the process ends. Threads: the first call must be over before a
 * second thread makes one (auth_open at the start sees to that); later calls do nothing.
 * No file in /etc is read and no plug-in is loaded but those of the mechanisms that we offer. */
#ifndef POSTERN_AUTH_SASL_LIBRARY_H
#define POSTERN_AUTH_SASL_LIBRARY_H

#include "base/err.h"

#include <sasl/sasl.h>

bool sasl_library_start(struct err *e);

/* The mechanisms whose plug-ins are really there, as bits of enum auth_mechanism. */
unsigned sasl_library_mechanisms(void);

/* libsasl2 wants its call-backs under one type; nothing else is meant by it. */
typedef int (*sasl_library_callback)(void);

#endif
