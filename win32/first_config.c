#include "win32/first_config.h"

#include "win32/text.h"

#include <windows.h>

/* One line and its CR LF. */
static bool write_line(HANDLE file, const char *line, size_t n)
{
    DWORD wrote = 0;
    return WriteFile(file, line, (DWORD)n, &wrote, NULL) && wrote == n &&
           WriteFile(file, "\r\n", 2, &wrote, NULL) && wrote == 2;
}

bool first_config_write(const char *path, struct buf *said, struct err *e)
{
    struct wide_path wide;
    if (!path_to_wide(path, &wide))
        return act_failed(e, path, "name it");
    HANDLE file =
        CreateFileW(wide.text, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return GetLastError() == ERROR_FILE_EXISTS || act_failed(e, path, "make the file");
    bool ok = true;
    for (const char *line = first_config; ok && *line != 0;) {
        const char *end = line;
        while (*end != '\n' && *end != 0)
            end++;
        ok = write_line(file, line, (size_t)(end - line));
        line = *end == 0 ? end : end + 1;
    }
    if (!ok)
        (void)act_failed(e, path, "write it");
    (void)CloseHandle(file);
    if (!ok)
        (void)DeleteFileW(wide.text); /* half of one would be taken for the administrator's */
    else
        buf_addf(said, "wrote %s, which relays nothing yet\n", path);
    return ok;
}
