/* paths.h - where things are by default and how names are joined.
 * Threads: any. Names are UTF-8 on every system. */
#ifndef POSTERN_PLATFORM_PATHS_H
#define POSTERN_PLATFORM_PATHS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

enum { PATH_TEXT_MAX = 4096 };

const char *paths_default_config(void);         /* /etc/postern/postern.yaml */
const char *paths_default_data_directory(void); /* /var/lib/postern */
const char *paths_hosts_file(void);             /* /etc/hosts */

bool paths_is_absolute(const char *path);

/* folder/name in out; an absolute name stands alone. False when it does not fit. */
MUST_USE bool paths_join(const char *folder, const char *name, char *out, size_t size);

/* The folder that a path lies in ("." for a bare name). False when it does not fit. */
MUST_USE bool paths_folder(const char *path, char *out, size_t size);

#endif
