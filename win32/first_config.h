/* first_config.h - the configuration that `postern service install` writes where there is none:
 * packaging/windows/postern.yaml, which CMake puts in here. */
#ifndef POSTERN_WIN32_FIRST_CONFIG_H
#define POSTERN_WIN32_FIRST_CONFIG_H

#include "base/buf.h"
#include "base/err.h"

extern const char first_config[]; /* UTF-8, lines end with LF, NUL behind it */

/* Writes it as path, with lines as Notepad has them; a file that is there already is left alone.
 * said: what was done, for the person. */
bool first_config_write(const char *path, struct buf *said, struct err *e);

#endif
