#include "platform/paths.h"

#include <stdio.h>
#include <string.h>

const char *paths_default_config(void)
{
    return "/etc/postern/postern.yaml";
}

const char *paths_default_data_directory(void)
{
    return "/var/lib/postern";
}

const char *paths_hosts_file(void)
{
    return "/etc/hosts";
}

bool paths_is_absolute(const char *path)
{
    return path[0] == '/';
}

bool paths_join(const char *folder, const char *name, char *out, size_t size)
{
    size_t n = strlen(folder);
    int wrote;
    if (paths_is_absolute(name) || n == 0)
        wrote = snprintf(out, size, "%s", name);
    else
        wrote = snprintf(out, size, "%s%s%s", folder, folder[n - 1] == '/' ? "" : "/", name);
    if (wrote >= 0 && (size_t)wrote < size)
        return true;
    if (size > 0)
        out[0] = 0;
    return false;
}

bool paths_folder(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    const char *from = slash == NULL ? "." : path;
    if (n >= size) {
        if (size > 0)
            out[0] = 0;
        return false;
    }
    memcpy(out, from, n);
    out[n] = 0;
    return true;
}
