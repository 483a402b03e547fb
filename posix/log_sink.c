#define _GNU_SOURCE
#include "platform/log_sink.h"

#include "platform/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The run state of the process's one log file. A writer takes the descriptor under the lock, since
 * a reopen replaces it. */
static struct {
    pthread_mutex_t lock;
    int file;
    char path[1024];
    atomic_ullong dropped;
    atomic_bool journal;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = -1};

static void put(int fd, enum log_level level, bool journal, struct span line)
{
    /* syslog(3): 7 debug, 6 info, 4 warning, 3 error */
    static const char *const prefixes[] = {
        [LOG_DEBUG] = "<7>", [LOG_INFO] = "<6>", [LOG_WARN] = "<4>", [LOG_ERROR] = "<3>"};
    char prefix[4] = "", end[1] = {'\n'};
    if (journal)
        memcpy(prefix, prefixes[level], 4);
    struct iovec parts[] = {
        {prefix, strlen(prefix)}, {(void *)(uintptr_t)line.p, line.n}, {end, sizeof end}};
    ssize_t n;
    do {
        n = writev(fd, parts, 3);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)(parts[0].iov_len + line.n + 1))
        atomic_fetch_add(&sink.dropped, 1);
}

static void write_stderr(void *context, enum log_level level, struct span line)
{
    (void)context;
    put(STDERR_FILENO, level, atomic_load(&sink.journal), line);
}

static void write_file(void *context, enum log_level level, struct span line)
{
    (void)context;
    (void)pthread_mutex_lock(&sink.lock);
    put(sink.file, level, false, line);
    (void)pthread_mutex_unlock(&sink.lock);
}

/* JOURNAL_STREAM=device:inode tells which stream the journal reads, systemd.exec(5); ours may have
 * been redirected since. */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return text != NULL && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && (unsigned long long)st.st_dev == device &&
           (unsigned long long)st.st_ino == inode;
}

void log_sink_stderr(struct log_sink *out)
{
    atomic_store(&sink.journal, stderr_is_journal());
    *out = (struct log_sink){.write = write_stderr, .wall_ms = clock_wall_ms};
}

/* Call with the lock held. */
static bool open_file(const char *path, struct span head, struct err *e)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return err_set(e, ERR_PERM, "%s: cannot open the log: %s", path, strerror(errno));
    if (head.n > 0)
        put(fd, LOG_INFO, false, head);
    if (sink.file >= 0)
        (void)close(sink.file);
    sink.file = fd;
    return true;
}

bool log_sink_file(const char *path, struct span head, struct log_sink *out, struct err *e)
{
    if (strlen(path) >= sizeof sink.path)
        return err_set(e, ERR_PERM, "%s: name too long", path);
    (void)pthread_mutex_lock(&sink.lock);
    bool ok = open_file(path, head, e);
    if (ok)
        (void)snprintf(sink.path, sizeof sink.path, "%s", path);
    (void)pthread_mutex_unlock(&sink.lock);
    if (ok)
        *out = (struct log_sink){.write = write_file, .wall_ms = clock_wall_ms};
    return ok;
}

bool log_sink_reopen(struct span head, struct err *e)
{
    (void)pthread_mutex_lock(&sink.lock);
    bool ok = sink.path[0] == 0 || open_file(sink.path, head, e);
    (void)pthread_mutex_unlock(&sink.lock);
    return ok;
}

uint64_t log_sink_dropped(void)
{
    return atomic_load(&sink.dropped);
}
