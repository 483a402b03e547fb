#include "platform/paths.h"

#include "win32/text.h"

#include <windows.h>

#include <initguid.h>
#include <knownfolders.h>
#include <shlobj.h>
#include <stdio.h>
#include <string.h>

/* Found once, from the system and not from the environment, which whoever starts us may set. */
static struct {
    INIT_ONCE once;
    char data[MAX_PATH * 3], config[MAX_PATH * 3], hosts[MAX_PATH * 3];
} known = {.once = INIT_ONCE_STATIC_INIT};

static BOOL CALLBACK find(PINIT_ONCE once, PVOID unused, PVOID *nothing)
{
    (void)once;
    (void)unused;
    (void)nothing;
    wchar_t *wide = NULL, system[MAX_PATH];
    char folder[MAX_PATH * 2];
    if (FAILED(SHGetKnownFolderPath(&FOLDERID_ProgramData, 0, NULL, &wide)) ||
        !text_from_wide(wide, folder, sizeof folder))
        (void)snprintf(folder, sizeof folder, "C:\\ProgramData");
    CoTaskMemFree(wide);
    (void)snprintf(known.data, sizeof known.data, "%s\\Postern", folder);
    (void)snprintf(known.config, sizeof known.config, "%s\\Postern\\postern.yaml", folder);
    UINT n = GetSystemDirectoryW(system, MAX_PATH);
    if (n == 0 || n >= MAX_PATH || !text_from_wide(system, folder, sizeof folder))
        (void)snprintf(folder, sizeof folder, "C:\\Windows\\System32");
    (void)snprintf(known.hosts, sizeof known.hosts, "%s\\drivers\\etc\\hosts", folder);
    return TRUE;
}

const char *paths_default_config(void)
{
    (void)InitOnceExecuteOnce(&known.once, find, NULL, NULL);
    return known.config;
}

const char *paths_default_data_directory(void)
{
    (void)InitOnceExecuteOnce(&known.once, find, NULL, NULL);
    return known.data;
}

const char *paths_hosts_file(void)
{
    (void)InitOnceExecuteOnce(&known.once, find, NULL, NULL);
    return known.hosts;
}

/* Two names of one folder that differ in case are one service: the hash is of the whole name in
 * lower case (FNV-1a, 64 bits: a clash means two data directories cannot be served at once). */
bool paths_control(const char *data_directory, char *out, size_t size)
{
    struct wide_path wide;
    uint64_t hash = 14695981039346656037u;
    if (!path_to_wide(data_directory, &wide))
        return false;
    (void)CharLowerW(wide.text);
    size_t n = wcslen(wide.text);
    while (n > 3 && wide.text[n - 1] == L'\\')
        n--;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint64_t)wide.text[i]) * 1099511628211u;
    int wrote = snprintf(out, size, "\\\\.\\pipe\\postern-%016llx", (unsigned long long)hash);
    return wrote > 0 && (size_t)wrote < size;
}

static bool is_separator(char c)
{
    return c == '/' || c == '\\';
}

static bool has_drive(const char *path)
{
    return ((path[0] >= 'A' && path[0] <= 'Z') || (path[0] >= 'a' && path[0] <= 'z')) &&
           path[1] == ':';
}

/* C:\x, \\server\share, and \x, which is that of the drive where the process stands and so of no
 * folder that it could be joined to. "C:x" is in that drive's present folder: it is not. */
bool paths_is_absolute(const char *path)
{
    return is_separator(path[0]) || (has_drive(path) && is_separator(path[2]));
}

/* Windows takes both separators: a folder that is written with / alone goes on with it. */
bool paths_join(const char *folder, const char *name, char *out, size_t size)
{
    size_t n = strlen(folder);
    const char *between = strchr(folder, '/') != NULL && strchr(folder, '\\') == NULL ? "/" : "\\";
    int wrote;
    if (paths_is_absolute(name) || n == 0)
        wrote = snprintf(out, size, "%s", name);
    else
        wrote =
            snprintf(out, size, "%s%s%s", folder, is_separator(folder[n - 1]) ? "" : between, name);
    if (wrote >= 0 && (size_t)wrote < size)
        return true;
    if (size > 0)
        out[0] = 0;
    return false;
}

bool paths_folder(const char *path, char *out, size_t size)
{
    size_t n = strlen(path), root = has_drive(path) && is_separator(path[2]) ? 3
                                    : is_separator(path[0])                  ? 1
                                                                             : 0;
    while (n > root && !is_separator(path[n - 1]))
        n--;
    while (n > root && is_separator(path[n - 1]))
        n--;
    const char *from = n == 0 ? "." : path;
    n = n == 0 ? 1 : n;
    if (n >= size) {
        if (size > 0)
            out[0] = 0;
        return false;
    }
    memcpy(out, from, n);
    out[n] = 0;
    return true;
}

bool paths_absolute(const char *path, char *out, size_t size)
{
    struct wide_path wide;
    wchar_t whole[PATH_TEXT_MAX];
    if (size > 0)
        out[0] = 0;
    if (!path_to_wide(path, &wide))
        return false;
    DWORD n = GetFullPathNameW(wide.text, PATH_TEXT_MAX, whole, NULL);
    return n > 0 && n < PATH_TEXT_MAX && text_from_wide(whole, out, size);
}

/* There is no such service of the system: a folder beside the configuration, with its rights. */
bool paths_credential(const char *name, char *out, size_t size)
{
    if (size > 0)
        out[0] = 0;
    if (name[0] == 0 || strpbrk(name, "/\\:") != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return false;
    int n = snprintf(out, size, "%s\\credentials\\%s", paths_default_data_directory(), name);
    return n > 0 && (size_t)n < size;
}
