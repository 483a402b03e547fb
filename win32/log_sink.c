#include "platform/log_sink.h"

#include "platform/clock.h"
#include "win32/eventlog.h"
#include "win32/text.h"

#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* The run state of the process's one log file. A writer takes the handle under the lock, since a
 * reopen replaces it. */
static struct {
    SRWLOCK lock;
    HANDLE file;
    char path[1024];
    atomic_ullong dropped;
} sink = {.lock = SRWLOCK_INIT, .file = INVALID_HANDLE_VALUE};

enum { LINE_ROOM = 8192, SAID_BYTES_MAX = 64 * 1024 };

/* The line (a head has several, with LF between them) and its end in one write, so that lines of
 * several processes do not mix. */
static void put(HANDLE to, struct span line)
{
    char whole[LINE_ROOM];
    size_t n = 0, i = 0;
    DWORD wrote = 0;
    for (; i < line.n && n + 4 <= sizeof whole; i++) {
        if (line.p[i] == '\n')
            whole[n++] = '\r';
        whole[n++] = (char)line.p[i];
    }
    memcpy(whole + n, "\r\n", 2);
    if (!WriteFile(to, whole, (DWORD)n + 2, &wrote, NULL) || wrote != n + 2 || i < line.n)
        atomic_fetch_add(&sink.dropped, 1);
}

/* A service has no standard error; its host keeps what is said before there is a log file, for the
 * event log. That is not to grow for ever. */
static void write_stderr(void *context, enum log_level level, struct span line)
{
    static atomic_size_t said;
    (void)context;
    eventlog_line(level, line);
    if (!eventlog_is_open() || atomic_fetch_add(&said, line.n) < SAID_BYTES_MAX)
        put(GetStdHandle(STD_ERROR_HANDLE), line);
}

static void write_file(void *context, enum log_level level, struct span line)
{
    (void)context;
    eventlog_line(level, line);
    AcquireSRWLockExclusive(&sink.lock);
    put(sink.file, line);
    ReleaseSRWLockExclusive(&sink.lock);
}

void log_sink_stderr(struct log_sink *out)
{
    *out = (struct log_sink){.write = write_stderr, .wall_ms = clock_wall_ms};
}

/* Call with the lock held. Others may rename or remove it, which is how files are rotated. */
static bool open_file(const char *path, struct span head, struct err *e)
{
    struct wide_path wide;
    HANDLE file = INVALID_HANDLE_VALUE;
    if (path_to_wide(path, &wide))
        file = CreateFileW(wide.text, FILE_APPEND_DATA | SYNCHRONIZE,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        char text[SYSTEM_TEXT_MAX];
        return err_set(e, ERR_PERM, "%s: cannot open the log: %s", path, system_text(code, text));
    }
    if (head.n > 0)
        put(file, head);
    if (sink.file != INVALID_HANDLE_VALUE)
        (void)CloseHandle(sink.file);
    sink.file = file;
    return true;
}

bool log_sink_file(const char *path, struct span head, struct log_sink *out, struct err *e)
{
    if (strlen(path) >= sizeof sink.path)
        return err_set(e, ERR_PERM, "%s: name too long", path);
    AcquireSRWLockExclusive(&sink.lock);
    bool ok = open_file(path, head, e);
    if (ok)
        (void)snprintf(sink.path, sizeof sink.path, "%s", path);
    ReleaseSRWLockExclusive(&sink.lock);
    if (ok)
        *out = (struct log_sink){.write = write_file, .wall_ms = clock_wall_ms};
    return ok;
}

bool log_sink_reopen(struct span head, struct err *e)
{
    AcquireSRWLockExclusive(&sink.lock);
    bool ok = sink.path[0] == 0 || open_file(sink.path, head, e);
    ReleaseSRWLockExclusive(&sink.lock);
    return ok;
}

uint64_t log_sink_dropped(void)
{
    return atomic_load(&sink.dropped);
}
