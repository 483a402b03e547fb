#include "platform/durable_file.h"

#include "platform/random.h"
#include "win32/rights.h"
#include "win32/text.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

/* A scanner or an indexer may have the file open for a moment: its renames and removals are tried
 * again for so long. */
enum { TRIES = 20, BETWEEN_TRIES_MS = 25 };

static bool held_by_another(DWORD code)
{
    return code == ERROR_SHARING_VIOLATION || code == ERROR_ACCESS_DENIED;
}

/* mode: without bits for the group and others the file is ours alone (win32/rights.h); else it
 * inherits the folder's list of rights. */
bool durable_file_begin(struct durable_file *f, const char *unfinished_folder, unsigned mode,
                        struct err *e)
{
    f->handle = -1;
    f->temporary[0] = 0;
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t number;
        random_bytes(&number, sizeof number);
        char name[40];
        struct wide_path wide;
        (void)snprintf(name, sizeof name, ".%016llx.tmp", (unsigned long long)number);
        if (!paths_join(unfinished_folder, name, f->temporary, sizeof f->temporary))
            return err_set(e, ERR_PERM, "%s: name too long", unfinished_folder);
        if (!path_to_wide(f->temporary, &wide))
            break;
        HANDLE file = (mode & 077) == 0
                          ? rights_make_file(wide.text)
                          : CreateFileW(wide.text, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW,
                                        FILE_ATTRIBUTE_NORMAL, NULL);
        if (file != INVALID_HANDLE_VALUE) {
            f->handle = (intptr_t)file;
            return true;
        }
        if (GetLastError() != ERROR_FILE_EXISTS)
            break;
    }
    (void)act_failed(e, f->temporary, "create");
    f->temporary[0] = 0;
    return false;
}

bool durable_file_add(struct durable_file *f, struct span bytes, struct err *e)
{
    while (bytes.n > 0) {
        DWORD part = bytes.n > 1024 * 1024 ? 1024 * 1024 : (DWORD)bytes.n, wrote = 0;
        if (!WriteFile((HANDLE)f->handle, bytes.p, part, &wrote, NULL) || wrote == 0) {
            (void)act_failed(e, f->temporary, "write");
            durable_file_abort(f);
            return false;
        }
        bytes = span_from(bytes, wrote);
    }
    return true;
}

/* Write-through: it returns once the new name is on disk, MoveFileExW. */
static bool rename_through(const char *from, const char *to, bool replace)
{
    struct wide_path wide_from, wide_to;
    DWORD flags = MOVEFILE_WRITE_THROUGH | (replace ? MOVEFILE_REPLACE_EXISTING : 0);
    if (!path_to_wide(from, &wide_from) || !path_to_wide(to, &wide_to))
        return false;
    for (int i = 1;; i++) {
        if (MoveFileExW(wide_from.text, wide_to.text, flags))
            return true;
        if (i == TRIES || !held_by_another(GetLastError()))
            return false;
        Sleep(BETWEEN_TRIES_MS);
    }
}

bool durable_file_commit(struct durable_file *f, const char *path, bool replace, struct err *e)
{
    char folder[PATH_TEXT_MAX];
    if (f->handle < 0)
        return err_set(e, ERR_BUG, "%s: commit of a file that is not open", path);
    if (!paths_folder(path, folder, sizeof folder)) {
        durable_file_abort(f);
        return err_set(e, ERR_PERM, "%s: name too long", path);
    }
    if (!FlushFileBuffers((HANDLE)f->handle)) {
        (void)act_failed(e, f->temporary, "sync");
        durable_file_abort(f);
        return false;
    }
    (void)CloseHandle((HANDLE)f->handle); /* an open file cannot be renamed */
    f->handle = -1;
    if (!rename_through(f->temporary, path, replace)) {
        (void)act_failed(e, path, "rename to it");
        durable_file_abort(f);
        return false;
    }
    f->temporary[0] = 0;
    return durable_folder_sync(folder, e);
}

void durable_file_abort(struct durable_file *f)
{
    struct wide_path wide;
    if (f->handle >= 0)
        (void)CloseHandle((HANDLE)f->handle);
    f->handle = -1;
    if (f->temporary[0] != 0 && path_to_wide(f->temporary, &wide))
        for (int i = 1; !DeleteFileW(wide.text) && i < TRIES && held_by_another(GetLastError());
             i++)
            Sleep(BETWEEN_TRIES_MS);
    f->temporary[0] = 0;
}

/* NTFS writes names to its journal, and the rename above went through to the disk. Where the file
 * system lets a folder be flushed, as NTFS and ReFS do, a removal is on disk too. */
bool durable_folder_sync(const char *folder, struct err *e)
{
    struct wide_path wide;
    if (!path_to_wide(folder, &wide))
        return act_failed(e, folder, "open");
    HANDLE handle = CreateFileW(wide.text, GENERIC_WRITE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        if (GetLastError() == ERROR_ACCESS_DENIED)
            return true; /* who may add files there need not be allowed to write the folder itself
                          */
        return act_failed(e, folder, "open");
    }
    bool ok = FlushFileBuffers(handle);
    DWORD code = ok ? 0 : GetLastError();
    (void)CloseHandle(handle);
    if (ok || code == ERROR_INVALID_FUNCTION || code == ERROR_INVALID_HANDLE ||
        code == ERROR_ACCESS_DENIED || code == ERROR_NOT_SUPPORTED)
        return true;
    SetLastError(code);
    return act_failed(e, folder, "sync");
}

/* LockFileEx locks belong to the handle, so that a second one in this process is refused too. */
bool file_lock_open(struct file_lock *l, const char *path, bool *busy, struct err *e)
{
    struct wide_path wide;
    OVERLAPPED at = {0};
    if (busy != NULL)
        *busy = false;
    l->handle = -1;
    if (!path_to_wide(path, &wide))
        return act_failed(e, path, "open");
    HANDLE file =
        CreateFileW(wide.text, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                    NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return act_failed(e, path, "open");
    if (!LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)) {
        DWORD code = GetLastError();
        bool taken = code == ERROR_LOCK_VIOLATION || code == ERROR_IO_PENDING;
        char text[SYSTEM_TEXT_MAX];
        (void)CloseHandle(file);
        if (taken && busy != NULL)
            *busy = true;
        return err_set(e, ERR_TEMP, "%s: cannot lock: %s", path,
                       taken ? "another process holds it" : system_text(code, text));
    }
    l->handle = (intptr_t)file;
    return true;
}

void file_lock_close(struct file_lock *l)
{
    if (l->handle >= 0)
        (void)CloseHandle((HANDLE)l->handle);
    l->handle = -1;
}
