#include "platform/files.h"

#include "platform/paths.h"
#include "win32/rights.h"
#include "win32/text.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

enum { SHARE_ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE };

static enum files_result result_of(struct err *e, const char *path, const char *act)
{
    DWORD code = GetLastError();
    (void)act_failed(e, path, act);
    return code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND ? FILES_ABSENT
                                                                        : FILES_FAILED;
}

static HANDLE open_at(const char *path, DWORD access, DWORD share, DWORD flags)
{
    struct wide_path wide;
    if (!path_to_wide(path, &wide))
        return INVALID_HANDLE_VALUE;
    return CreateFileW(wide.text, access, share, NULL, OPEN_EXISTING,
                       FILE_ATTRIBUTE_NORMAL | FILE_FLAG_BACKUP_SEMANTICS | flags, NULL);
}

static bool info_of(HANDLE file, struct files_info *out)
{
    BY_HANDLE_FILE_INFORMATION i;
    if (!GetFileInformationByHandle(file, &i))
        return false;
    DWORD special = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DEVICE;
    uint64_t modified =
        (uint64_t)i.ftLastWriteTime.dwHighDateTime << 32 | i.ftLastWriteTime.dwLowDateTime;
    *out = (struct files_info){
        .size = (uint64_t)i.nFileSizeHigh << 32 | i.nFileSizeLow,
        .modified_wall_ms = (int64_t)(modified / 10000) - 11644473600000,
        .identity = {i.dwVolumeSerialNumber, (uint64_t)i.nFileIndexHigh << 32 | i.nFileIndexLow},
        .regular = (i.dwFileAttributes & special) == 0 && GetFileType(file) == FILE_TYPE_DISK,
        .folder = (i.dwFileAttributes & special) == FILE_ATTRIBUTE_DIRECTORY,
    };
    rights_of_others(file, &out->others_read, &out->others_write);
    return true;
}

/* *out stays closed unless it is a regular file that can be read. */
static enum files_result open_regular(const char *path, DWORD flags, struct files_info *info,
                                      HANDLE *out, struct err *e)
{
    HANDLE file = open_at(path, GENERIC_READ, SHARE_ALL, flags);
    enum files_result result = FILES_FAILED;
    if (file == INVALID_HANDLE_VALUE)
        return result_of(e, path, "open");
    if (!info_of(file, info)) {
        result = result_of(e, path, "look at");
    } else if (!info->regular) {
        (void)err_set(e, ERR_PERM, "%s: not a regular file", path);
    } else {
        *out = file;
        return FILES_OK;
    }
    (void)CloseHandle(file);
    return result;
}

enum files_result files_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    struct files_info info;
    HANDLE file;
    enum files_result result = open_regular(path, 0, &info, &file, e);
    if (result != FILES_OK)
        return result;
    size_t total = 0;
    for (;;) {
        uint8_t some[8192];
        DWORD n = 0;
        if (!ReadFile(file, some, sizeof some, &n, NULL)) {
            result = result_of(e, path, "read");
            break;
        }
        if (n == 0)
            break;
        total += n;
        if (total > max || !buf_add(out, span_of(some, n))) {
            (void)err_set(e, ERR_PERM, "%s: larger than %zu bytes", path,
                          max < out->max ? max : out->max);
            result = FILES_FAILED;
            break;
        }
    }
    (void)CloseHandle(file);
    return result;
}

static enum files_result look(const char *path, DWORD flags, struct files_info *out, struct err *e)
{
    HANDLE file = open_at(path, FILE_READ_ATTRIBUTES | READ_CONTROL, SHARE_ALL, flags);
    if (file == INVALID_HANDLE_VALUE) /* what it is may be asked where its rights may not */
        file = open_at(path, FILE_READ_ATTRIBUTES, SHARE_ALL, flags);
    if (file == INVALID_HANDLE_VALUE)
        return result_of(e, path, "look at");
    enum files_result result = info_of(file, out) ? FILES_OK : result_of(e, path, "look at");
    (void)CloseHandle(file);
    return result;
}

enum files_result files_stat(const char *path, struct files_info *out, struct err *e)
{
    return look(path, FILE_FLAG_OPEN_REPARSE_POINT, out, e);
}

enum files_result files_look(const char *path, struct files_info *out, struct err *e)
{
    return look(path, 0, out, e);
}

/* mode: without bits for others the folder is ours alone (win32/rights.h); else it inherits. */
static bool make_one(const char *path, unsigned mode, struct err *e)
{
    struct wide_path wide;
    if (!path_to_wide(path, &wide))
        return act_failed(e, path, "make the folder");
    bool made =
        (mode & 07) == 0 ? rights_make_folder(wide.text) : CreateDirectoryW(wide.text, NULL);
    if (made)
        return true;
    DWORD code = GetLastError(), attributes = GetFileAttributesW(wide.text);
    if (attributes != INVALID_FILE_ATTRIBUTES) {
        if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
            return true;
        return err_set(e, ERR_PERM, "%s: is there and is no folder", path);
    }
    SetLastError(code);
    return act_failed(e, path, "make the folder");
}

bool files_make_folder(const char *path, unsigned mode, struct err *e)
{
    char part[PATH_TEXT_MAX];
    struct wide_path wide;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return err_set(e, ERR_PERM, "folder: name empty or too long");
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        char separator = part[i];
        if ((separator != '/' && separator != '\\') || part[i - 1] == '/' || part[i - 1] == '\\' ||
            part[i - 1] == ':')
            continue;
        part[i] = 0;
        bool there =
            path_to_wide(part, &wide) && GetFileAttributesW(wide.text) != INVALID_FILE_ATTRIBUTES;
        /* \\server and \\server\share are no folders that one could make */
        if (!there && !make_one(part, 0755, e) && strncmp(part, "\\\\", 2) != 0)
            return false;
        part[i] = separator;
    }
    return make_one(path, mode, e);
}

static bool is_dots(const wchar_t *name)
{
    return wcscmp(name, L".") == 0 || wcscmp(name, L"..") == 0;
}

/* The old array stays in the arena: it doubles, so at most as much again. */
static bool add_name(const char ***list, size_t *n, size_t *cap, const char *name, struct arena *a)
{
    if (*n == *cap) {
        size_t grown = *cap == 0 ? 64 : *cap * 2;
        const char **bigger = arena_alloc(a, grown * sizeof *bigger);
        if (bigger == NULL)
            return false;
        if (*n > 0)
            memcpy(bigger, *list, *n * sizeof *bigger);
        *list = bigger;
        *cap = grown;
    }
    (*list)[*n] = arena_str(a, name);
    return (*list)[(*n)++] != NULL;
}

bool files_list(const char *folder, size_t max, struct arena *a, const char ***names, size_t *n,
                bool *more, struct err *e)
{
    char pattern[PATH_TEXT_MAX];
    struct wide_path wide;
    WIN32_FIND_DATAW found;
    size_t cap = 0;
    *names = NULL;
    *n = 0;
    *more = false;
    if (!paths_join(folder, "*", pattern, sizeof pattern))
        return err_set(e, ERR_PERM, "%s: name too long", folder);
    HANDLE search =
        path_to_wide(pattern, &wide) ? FindFirstFileW(wide.text, &found) : INVALID_HANDLE_VALUE;
    if (search == INVALID_HANDLE_VALUE)
        return act_failed(e, folder, "list");
    bool ok = true;
    do {
        char name[MAX_PATH * 3 + 1];
        if (is_dots(found.cFileName) || !text_from_wide(found.cFileName, name, sizeof name))
            continue; /* a name that is no Unicode text could not be opened again by us */
        if (*n == max) {
            *more = true;
            break;
        }
        ok = add_name(names, n, &cap, name, a) ||
             err_set(e, ERR_TEMP, "%s: cannot list: no memory", folder);
    } while (ok && FindNextFileW(search, &found));
    if (ok && !*more && GetLastError() != ERROR_NO_MORE_FILES)
        ok = act_failed(e, folder, "list");
    (void)FindClose(search);
    return ok;
}

enum files_result files_remove(const char *path, struct err *e)
{
    struct wide_path wide;
    bool ok = path_to_wide(path, &wide) && DeleteFileW(wide.text);
    return ok ? FILES_OK : result_of(e, path, "remove");
}

enum files_result files_rename(const char *from, const char *to, bool replace, struct err *e)
{
    struct wide_path wide_from, wide_to;
    DWORD flags = replace ? MOVEFILE_REPLACE_EXISTING : 0;
    bool ok = path_to_wide(from, &wide_from) && path_to_wide(to, &wide_to) &&
              MoveFileExW(wide_from.text, wide_to.text, flags);
    return ok ? FILES_OK : result_of(e, from, "rename");
}

enum files_result file_reader_open(struct file_reader *r, const char *path, struct files_info *info,
                                   struct err *e)
{
    struct files_info own;
    HANDLE file;
    r->handle = -1;
    enum files_result result =
        open_regular(path, FILE_FLAG_OPEN_REPARSE_POINT, info == NULL ? &own : info, &file, e);
    if (result == FILES_OK)
        r->handle = (intptr_t)file;
    return result;
}

bool file_reader_next(struct file_reader *r, void *out, size_t size, size_t *n, struct err *e)
{
    DWORD got = 0, want = size > 1024 * 1024 ? 1024 * 1024 : (DWORD)size;
    if (!ReadFile((HANDLE)r->handle, out, want, &got, NULL))
        return act_failed(e, "file", "read");
    *n = got;
    return true;
}

bool file_reader_seek(struct file_reader *r, uint64_t offset, struct err *e)
{
    LARGE_INTEGER to = {.QuadPart = (LONGLONG)offset};
    if (offset > INT64_MAX || !SetFilePointerEx((HANDLE)r->handle, to, NULL, FILE_BEGIN))
        return err_set(e, ERR_TEMP, "file: cannot seek");
    return true;
}

void file_reader_close(struct file_reader *r)
{
    if (r->handle >= 0)
        (void)CloseHandle((HANDLE)r->handle);
    r->handle = -1;
}

/* Sharing is granted by all who have it open: we allow no writer, and are refused while there is
 * one. */
enum files_use files_use(const char *path)
{
    HANDLE file = open_at(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE,
                          FILE_FLAG_OPEN_REPARSE_POINT);
    if (file != INVALID_HANDLE_VALUE) {
        (void)CloseHandle(file);
        return FILES_NOT_WRITTEN;
    }
    return GetLastError() == ERROR_SHARING_VIOLATION ? FILES_BEING_WRITTEN : FILES_USE_UNKNOWN;
}

/* What we make inherits the rights of its folder, so that it needs to be given to nobody. */
bool files_give(const char *path, const char *user, struct err *e)
{
    (void)path;
    (void)user;
    (void)e;
    return true;
}

bool files_own_like(const char *path, const char *like, struct err *e)
{
    (void)path;
    (void)like;
    (void)e;
    return true;
}

bool files_rights_like(const char *path, const char *like, struct err *e)
{
    struct wide_path wide, other;
    if (!path_to_wide(path, &wide) || !path_to_wide(like, &other))
        return act_failed(e, path, "look at the rights of");
    return GetFileAttributesW(wide.text) == INVALID_FILE_ATTRIBUTES ||
           rights_like(wide.text, other.text) || act_failed(e, path, "set the rights of");
}

/* Rights are given by lists here, and an owner is often a group: nobody is to become him. */
bool files_owner(const char *path, char *user, size_t size)
{
    (void)path;
    if (size > 0)
        user[0] = 0;
    return false;
}

/* The call wants a folder; of a file it is asked for the one that it lies in. */
bool files_free_bytes(const char *path, uint64_t *out, struct err *e)
{
    char folder[PATH_TEXT_MAX];
    struct wide_path wide;
    ULARGE_INTEGER available;
    if (!path_to_wide(path, &wide))
        return act_failed(e, path, "look at the file system of");
    DWORD attributes = GetFileAttributesW(wide.text);
    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0 &&
        (!paths_folder(path, folder, sizeof folder) || !path_to_wide(folder, &wide)))
        return act_failed(e, path, "look at the file system of");
    if (!GetDiskFreeSpaceExW(wide.text, &available, NULL, NULL))
        return act_failed(e, path, "look at the file system of");
    *out = available.QuadPart;
    return true;
}
