/* account_lab.h - a folder, a socket and a client for the tests of local accounts. Linux only: for
 * tests that are not built on Windows. One for each test program. */
#ifndef POSTERN_TESTS_ACCOUNT_LAB_H
#define POSTERN_TESTS_ACCOUNT_LAB_H

#include "platform/local_account.h"
#include "support/test.h"

#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 512, DEADLINE_MS = 400, HANG_MS = 5000, SLACK_MS = 1500, NOBODY = 65534 };

static char folder[PATH_BYTES / 2], helper_program[PATH_BYTES], socket_path[PATH_BYTES],
    pam_folder[PATH_BYTES], matrix[PATH_BYTES];

static inline void rest(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

static inline void write_file(const char *name, mode_t mode, const char *text)
{
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static inline int account_lab_up(void **state)
{
    (void)state;
    char self[PATH_BYTES];
    glob_t found;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return -1;
    self[n] = '\0';
    (void)snprintf(helper_program, sizeof helper_program, "%s/../postern-accounts", dirname(self));
    const char *base = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/accounts-XXXXXX", base == NULL ? "/tmp" : base);
    if (access(helper_program, X_OK) != 0 || mkdtemp(folder) == NULL || chmod(folder, 0755) != 0)
        return -1;
    (void)snprintf(socket_path, sizeof socket_path, "%s/helper.sock", folder);
    (void)snprintf(pam_folder, sizeof pam_folder, "%s", folder);
    if (glob("/usr/lib/*/pam_wrapper/pam_matrix.so", 0, NULL, &found) == 0)
        (void)snprintf(matrix, sizeof matrix, "%s", found.gl_pathv[0]);
    globfree(&found);
    return matrix[0] == '\0' ? -1 : 0; /* libpam-wrapper, packaging/debian-test.list */
}

static inline int account_lab_down(void **state)
{
    (void)state;
    char command[2 * PATH_BYTES];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline struct local_accounts *open_client(const char *helper, uint32_t deadline_ms,
                                                 const char *service)
{
    struct local_accounts *l = NULL;
    struct err e = {0};
    const struct local_accounts_options o = {
        .service = service, .helper = helper, .deadline_ms = deadline_ms};
    assert_true(local_accounts_open(&o, &l, &e));
    return l;
}

static inline enum local_account_result verify(struct local_accounts *l, const char *account,
                                               const char *password, char *text)
{
    const struct local_account_question q = {.account = account};
    return local_accounts_verify(l, &q, span_str(password), text);
}

static inline void end_process(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

#endif
