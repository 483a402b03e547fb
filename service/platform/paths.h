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

/* The local control channel of the service on that data directory: a socket in it, or a named pipe
 * whose name follows from it. False when it does not fit. */
MUST_USE bool paths_control(const char *data_directory, char *out, size_t size);

bool paths_is_absolute(const char *path);

/* folder/name in out; an absolute name stands alone. False when it does not fit. */
MUST_USE bool paths_join(const char *folder, const char *name, char *out, size_t size);

/* The same path from the root on, by the folder in which the program was started; it need not
 * exist. False when it does not fit. */
MUST_USE bool paths_absolute(const char *path, char *out, size_t size);

/* The folder that a path lies in ("." for a bare name). False when it does not fit. */
MUST_USE bool paths_folder(const char *path, char *out, size_t size);

/* Where the file is that the service manager hands to the service alone under this name: systemd's
 * credentials, of LoadCredential=NAME:... or of a whole folder, LoadCredential=postern:... For a
 * command that the manager did not start, where the service's would come from. The file need not
 * be there. False when the name is empty, holds a separator, is "." or "..", or does not fit. */
MUST_USE bool paths_credential(const char *name, char *out, size_t size);

#endif
