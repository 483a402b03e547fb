#define _POSIX_C_SOURCE 200809L
#include "platform/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

bool paths_control(const char *data_directory, char *out, size_t size)
{
    /* A longer one would be bound cut short, to another name. */
    return paths_join(data_directory, "control.sock", out, size) &&
           strlen(out) < sizeof((struct sockaddr_un *)0)->sun_path;
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

bool paths_absolute(const char *path, char *out, size_t size)
{
    char here[PATH_TEXT_MAX];
    if (size > 0)
        out[0] = 0;
    return (paths_is_absolute(path) || getcwd(here, sizeof here) != NULL) &&
           paths_join(paths_is_absolute(path) ? "/" : here, path, out, size);
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

/* FOLDER/PREFIX+NAME, and whether it is there. */
static bool there(const char *folder, const char *prefix, const char *name, char *out, size_t size,
                  bool *fits)
{
    int n = snprintf(out, size, "%s/%s%s", folder, prefix, name);
    *fits = n >= 0 && (size_t)n < size;
    return *fits && access(out, F_OK) == 0;
}

bool paths_credential(const char *name, char *out, size_t size)
{
    /* What the unit of packaging/systemd loads, and where systemd keeps what the running service
     * has got; both are root's alone. */
    static const char source[] = "/etc/postern/credentials";
    static const char running[] = "/run/credentials/postern.service";
    const char *own = getenv("CREDENTIALS_DIRECTORY");
    bool fits = false;
    if (size > 0)
        out[0] = 0;
    if (name[0] == 0 || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return false;
    if (own != NULL && paths_is_absolute(own)) {
        if (there(own, "", name, out, size, &fits) ||
            there(own, "postern_", name, out, size, &fits))
            return true;
        (void)there(own, "", name, out, size, &fits);
        return fits;
    }
    if (there(source, "", name, out, size, &fits) || there(running, "", name, out, size, &fits) ||
        there(running, "postern_", name, out, size, &fits))
        return true;
    (void)there(source, "", name, out, size, &fits);
    return fits;
}
