/* The client of platform/local_account.h against helpers that misbehave, and the real helper with
 * PAM modules that do; pam_unix itself is in tests/e2e/local_accounts_test.py. */
#define _GNU_SOURCE
#include "base/account_protocol.h"
#include "platform/clock.h"
#include "platform/local_account.h"
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 512, DEADLINE_MS = 400, HANG_MS = 5000, SLACK_MS = 1500, NOBODY = 65534 };

static char folder[PATH_BYTES / 2], helper_program[PATH_BYTES], socket_path[PATH_BYTES],
    pam_folder[PATH_BYTES], matrix[PATH_BYTES];

static void rest(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

static void write_file(const char *name, mode_t mode, const char *text)
{
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
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

static int clean_up(void **state)
{
    (void)state;
    char command[2 * PATH_BYTES];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct local_accounts *open_client(const char *helper, uint32_t deadline_ms,
                                          const char *service)
{
    struct local_accounts *l = NULL;
    struct err e = {0};
    const struct local_accounts_options o = {
        .service = service, .helper = helper, .deadline_ms = deadline_ms};
    assert_true(local_accounts_open(&o, &l, &e));
    return l;
}

static enum local_account_result verify(struct local_accounts *l, const char *account,
                                        const char *password, char *text)
{
    const struct local_account_question q = {.account = account};
    return local_accounts_verify(l, &q, span_str(password), text);
}

/* ---- helpers that misbehave ---- */

struct fake {
    pid_t pid;
};

static int listen_here(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
    (void)unlink(socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(chmod(socket_path, 0666), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* A process that reads what comes, answers these bytes one by one, and then waits or hangs up. */
static struct fake fake_start(const void *bytes, size_t n, long pause_ms, bool hang_up)
{
    int fd = listen_here();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;) {
            uint8_t in[ACCOUNT_QUESTION_MAX];
            int one = accept(fd, NULL, NULL);
            if (one < 0 || recv(one, in, sizeof in, 0) < 0)
                _exit(1);
            rest(pause_ms);
            for (size_t i = 0; i < n; i++)
                (void)send(one, (const uint8_t *)bytes + i, 1, MSG_NOSIGNAL);
            if (hang_up)
                (void)close(one);
        }
    }
    (void)close(fd);
    return (struct fake){pid};
}

static void end_process(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static void expect_unavailable(const void *bytes, size_t n, long pause_ms, bool hang_up,
                               const char *word, uint64_t most_ms)
{
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    struct fake f = fake_start(bytes, n, pause_ms, hang_up);
    struct local_accounts *l = open_client(socket_path, DEADLINE_MS, "postern");
    uint64_t began = clock_monotonic_ms();
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_true(clock_monotonic_ms() - began <= most_ms);
    if (strstr(text, word) == NULL)
        fail_msg("'%s' says nothing of '%s'", text, word);
    assert_null(strstr(text, "pw"));
    local_accounts_close(&l);
    end_process(f.pid);
}

static void a_helper_that_hangs_up_is_unavailable_at_once(void **state)
{
    (void)state;
    expect_unavailable("", 0, 0, true, "hung up", DEADLINE_MS - 100);
    expect_unavailable("\1", 1, 0, true, "hung up", DEADLINE_MS - 100);
    expect_unavailable("\1\0\0\5right", 8, 0, true, "hung up", DEADLINE_MS - 100);
}

static void a_helper_that_is_silent_costs_the_deadline_and_no_more(void **state)
{
    (void)state;
    expect_unavailable("", 0, 0, false, "did not answer within 400 ms", DEADLINE_MS + SLACK_MS);
    expect_unavailable("\1\0\0\5righ", 8, 0, false, "did not answer", DEADLINE_MS + SLACK_MS);
    expect_unavailable("\1\0\0\0", 4, DEADLINE_MS + 200, false, "did not answer",
                       DEADLINE_MS + SLACK_MS);
}

static void a_helper_that_talks_nonsense_is_unavailable(void **state)
{
    (void)state;
    static uint8_t much[70000];
    expect_unavailable("\2\0\0\0", 4, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
    expect_unavailable("HTTP/1.1 200 OK\r\n", 17, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
    expect_unavailable("\1\0\377\377", 4, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
    expect_unavailable("\1\010\0\0", 4, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
    expect_unavailable("\1\377\0\0", 4, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
    much[0] = 2;
    expect_unavailable(much, sizeof much, 0, false, "malformed", DEADLINE_MS + SLACK_MS);
}

static void an_answer_in_pieces_is_put_together(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    struct fake f = fake_start("\1\3\0\6locked", 10, 100, false);
    struct local_accounts *l = open_client(socket_path, 5000, "postern");
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_DISABLED);
    assert_string_equal(text, "locked");
    local_accounts_close(&l);
    end_process(f.pid);
}

static void without_a_helper_the_reason_names_the_socket(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX], cure[LOCAL_ACCOUNT_TEXT_MAX];
    (void)unlink(socket_path);
    struct local_accounts *l = open_client(socket_path, DEADLINE_MS, "postern");
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_non_null(strstr(text, "cannot connect"));
    assert_false(local_accounts_ready(l, text, cure));
    assert_non_null(strstr(text, socket_path));
    assert_non_null(strstr(cure, "postern-accounts.socket"));
    local_accounts_close(&l);
}

/* Whoever listens there would get passwords. */
static void a_helper_of_another_user_gets_no_password(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(folder, 0777), 0);
    int told[2];
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(1);
        int fd = listen_here(), one;
        if (write(told[1], "l", 1) != 1)
            _exit(1);
        uint8_t in[64];
        while ((one = accept(fd, NULL, NULL)) >= 0) {
            if (write(told[1], recv(one, in, sizeof in, 0) > 0 ? "!" : "-", 1) != 1)
                _exit(1);
            (void)close(one);
        }
        _exit(0);
    }
    char byte = 0;
    assert_int_equal(read(told[0], &byte, 1), 1);
    struct local_accounts *l = open_client(socket_path, DEADLINE_MS, "postern");
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_non_null(strstr(text, "neither as root nor as this user"));
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(byte, '-');
    local_accounts_close(&l);
    end_process(pid);
    (void)close(told[0]);
    (void)close(told[1]);
    (void)unlink(socket_path);
    assert_int_equal(chmod(folder, 0755), 0);
}

/* ---- the real helper ---- */

static pid_t helper_start(const char *const *options)
{
    const char *argv[32] = {helper_program, "--socket", socket_path, "--pam-directory", pam_folder};
    size_t n = 5;
    for (; options != NULL && *options != NULL; options++)
        argv[n++] = *options;
    (void)unlink(socket_path);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves none behind */
        (void)execv(helper_program, (char **)(uintptr_t)argv);
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        bool there = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
        (void)close(fd);
        if (there)
            return pid;
        rest(10);
    }
    fail_msg("the helper does not listen");
    return 0;
}

static void write_matrix_service(const char *name)
{
    char text[4 * PATH_BYTES];
    (void)snprintf(text, sizeof text,
                   "auth required %s passdb=%s/passdb\naccount required %s passdb=%s/passdb\n",
                   matrix, folder, matrix, folder);
    write_file(name, 0644, text);
    (void)snprintf(text, sizeof text, "lou:L0u-pw!:%s\n", name);
    write_file("passdb", 0644, text);
}

/* A service whose authentication runs a script, which sees our check as its parent. */
static void write_script_service(const char *name, const char *script)
{
    char text[4 * PATH_BYTES], file[64];
    (void)snprintf(file, sizeof file, "%s.sh", name);
    (void)snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    write_file(file, 0755, text);
    (void)snprintf(text, sizeof text,
                   "auth required pam_exec.so quiet %s/%s\naccount required pam_permit.so\n",
                   folder, file);
    write_file(name, 0644, text);
}

static void right_wrong_and_unknown_are_told_apart(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX], cure[LOCAL_ACCOUNT_TEXT_MAX];
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    struct local_accounts *l = open_client(socket_path, 5000, "matrix");
    assert_true(local_accounts_ready(l, text, cure));
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    assert_string_equal(text, "");
    assert_int_equal(verify(l, "lou", "wrong", text), LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_string_equal(text, "wrong password");
    enum local_account_result unknown = verify(l, "nosuch", "L0u-pw!", text);
    assert_true(unknown == LOCAL_ACCOUNT_NO_ACCOUNT || unknown == LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_int_equal(verify(l, "root", "L0u-pw!", text), LOCAL_ACCOUNT_DISABLED);
    assert_non_null(strstr(text, "uid 0"));
    assert_int_equal(verify(l, "nobody", "L0u-pw!", text), LOCAL_ACCOUNT_GUEST);
    assert_int_equal(verify(l, "Guest", "L0u-pw!", text), LOCAL_ACCOUNT_GUEST);
    local_accounts_close(&l);
    l = open_client(socket_path, 5000, "absent");
    assert_false(local_accounts_ready(l, text, cure));
    assert_string_equal(text, "there is no PAM service absent");
    assert_non_null(strstr(cure, "docs/local-accounts.md"));
    local_accounts_close(&l);
    end_process(pid);
}

static void groups_are_asked_of_the_name_service(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    const char *const none[] = {"nosuchgroup"}, *const other[] = {"daemon"},
                      *const two[] = {"nosuchgroup", "bin"};
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    struct local_accounts *l = open_client(socket_path, 5000, "matrix");
    struct local_account_question q = {.account = "bin", .groups = none, .group_count = 1};
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_NOT_MEMBER);
    assert_non_null(strstr(text, "none of the groups that may exists"));
    q.groups = other;
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_NOT_MEMBER);
    q.groups = two;
    q.group_count = 2;
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_OK);
    q.account = "nosuch";
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_NO_ACCOUNT);
    q.account = "root";
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_DISABLED);
    local_accounts_close(&l);
    end_process(pid);
}

static void a_module_that_hangs_is_killed_and_others_go_on(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX], pid_path[2 * PATH_BYTES];
    char script[4 * PATH_BYTES];
    (void)snprintf(script, sizeof script, "echo $$ > %s/sleeper; exec sleep 60", folder);
    write_script_service("hang", script);
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    /* Its deadline is a tenth shorter than ours, so that the answer tells what it was. */
    struct local_accounts *l = open_client(socket_path, HANG_MS, "hang");
    uint64_t began = clock_monotonic_ms();
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_string_equal(text, "the check took too long and was ended");
    assert_true(clock_monotonic_ms() - began < HANG_MS + SLACK_MS);
    local_accounts_close(&l);
    /* with all that the module had started */
    (void)snprintf(pid_path, sizeof pid_path, "%s/sleeper", folder);
    FILE *f = fopen(pid_path, "r");
    int sleeper = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &sleeper), 1);
    (void)fclose(f);
    for (int i = 0; i < 200 && kill(sleeper, 0) == 0; i++)
        rest(10);
    char line[64] = "", path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", sleeper);
    f = fopen(path, "r"); /* gone, or a zombie that nobody has reaped */
    if (f != NULL) {
        assert_non_null(fgets(line, sizeof line, f));
        assert_non_null(strstr(line, ") Z"));
        (void)fclose(f);
    }
    l = open_client(socket_path, 5000, "matrix");
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    local_accounts_close(&l);
    end_process(pid);
}

static void a_module_that_crashes_is_unavailable_at_once(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    write_script_service("crash", "kill -9 $PPID");
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    struct local_accounts *l = open_client(socket_path, 10000, "crash");
    uint64_t began = clock_monotonic_ms();
    assert_int_equal(verify(l, "lou", "pw", text), LOCAL_ACCOUNT_UNAVAILABLE);
    assert_string_equal(text, "the check died");
    assert_true(clock_monotonic_ms() - began < 5000);
    local_accounts_close(&l);
    l = open_client(socket_path, 5000, "matrix");
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    local_accounts_close(&l);
    end_process(pid);
}

struct crowd {
    struct local_accounts *l;
    enum local_account_result result;
};

static void *one_of_the_crowd(void *context)
{
    struct crowd *c = context;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    c->result = verify(c->l, "lou", "pw", text);
    return NULL;
}

/* The script counts how many of it run; the most that were seen must not pass the bound. */
static void only_so_many_checks_run_at_a_time(void **state)
{
    (void)state;
    enum { CROWD = 12 };
    char script[8 * PATH_BYTES], path[2 * PATH_BYTES];
    const char *const options[] = {"--checks", "3", NULL};
    (void)snprintf(script, sizeof script,
                   "mkdir %s/in-$$; ls -d %s/in-* | wc -l >> %s/seen; sleep 0.2; rmdir %s/in-$$",
                   folder, folder, folder, folder);
    write_script_service("count", script);
    pid_t pid = helper_start(options);
    struct local_accounts *l = open_client(socket_path, 20000, "count");
    pthread_t threads[CROWD];
    struct crowd crowd[CROWD];
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = (struct crowd){.l = l};
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_the_crowd, &crowd[i]), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(crowd[i].result, LOCAL_ACCOUNT_OK);
    }
    (void)snprintf(path, sizeof path, "%s/seen", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int most = 0, n = 0, lines = 0;
    for (; fscanf(f, "%d", &n) == 1; lines++)
        most = n > most ? n : most;
    (void)fclose(f);
    assert_int_equal(lines, CROWD);
    assert_true(most >= 2 && most <= 3);
    local_accounts_close(&l);
    end_process(pid);
}

static void guesses_at_one_account_are_bounded_and_right_ones_cost_nothing(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    const char *const options[] = {"--account-burst", "3", "--account-rate", "0", NULL};
    write_matrix_service("matrix");
    pid_t pid = helper_start(options);
    struct local_accounts *l = open_client(socket_path, 5000, "matrix");
    for (int i = 0; i < 8; i++)
        assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    assert_int_equal(verify(l, "lou", "1", text), LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_int_equal(verify(l, "LOU", "2", text) == LOCAL_ACCOUNT_BUSY, 0); /* the same bucket */
    assert_int_equal(verify(l, "lou", "3", text), LOCAL_ACCOUNT_BAD_PASSWORD);
    assert_int_equal(verify(l, "lou", "4", text), LOCAL_ACCOUNT_BUSY);
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_BUSY);
    assert_int_not_equal(verify(l, "other", "5", text), LOCAL_ACCOUNT_BUSY);
    local_accounts_close(&l);
    end_process(pid);
}

static void questions_in_all_are_bounded(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    const char *const options[] = {"--burst", "4", "--rate", "0", NULL};
    write_matrix_service("matrix");
    pid_t pid = helper_start(options);
    struct local_accounts *l = open_client(socket_path, 5000, "matrix");
    for (int i = 0; i < 4; i++)
        assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_BUSY);
    local_accounts_close(&l);
    end_process(pid);
}

/* The result of a question that a process of that uid puts; -1: it could not even connect. */
static int ask_as(uid_t uid)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char text[LOCAL_ACCOUNT_TEXT_MAX];
        if (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
            _exit(99);
        struct local_accounts *l = open_client(socket_path, 3000, "matrix");
        _exit((int)verify(l, "lou", "L0u-pw!", text));
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void only_root_and_the_allowed_user_are_answered(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    const char *const options[] = {"--allow-user", "65533", "--allow-user", "daemon", NULL};
    write_matrix_service("matrix");
    pid_t pid = helper_start(options);
    struct stat there;
    assert_int_equal(stat(socket_path, &there), 0);
    assert_int_equal(there.st_uid, 65533);
    assert_int_equal(there.st_mode & 077, 0);
    assert_int_equal(ask_as(65533), LOCAL_ACCOUNT_OK);
    assert_int_equal(ask_as(65532), LOCAL_ACCOUNT_UNAVAILABLE); /* the file is not his */
    assert_int_equal(chmod(socket_path, 0666), 0);
    assert_int_equal(ask_as(1), LOCAL_ACCOUNT_OK);
    assert_int_equal(ask_as(65532), LOCAL_ACCOUNT_UNAVAILABLE); /* nor is he one of them */
    end_process(pid);
}

static int raw_connect(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* True when the helper ended the connection without an answer within that time. */
static bool hung_up(int fd, int within_ms)
{
    const struct timeval t = {.tv_sec = within_ms / 1000, .tv_usec = within_ms % 1000 * 1000};
    char in[16];
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    ssize_t n = recv(fd, in, sizeof in, 0);
    bool reset = n < 0 && errno == ECONNRESET; /* it left something unread */
    (void)close(fd);
    return n == 0 || reset;
}

static void a_peer_that_talks_nonsense_is_hung_up_on(void **state)
{
    (void)state;
    static uint8_t much[ACCOUNT_QUESTION_MAX + 100];
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    const struct {
        const char *bytes;
        size_t n;
    } all[] = {{"GET / HTTP/1.0\r\n\r\n", 18}, {"\1\1\377\377", 4}, {"\1\11\0\0", 4}, {"\2", 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int fd = raw_connect();
        assert_int_equal(send(fd, all[i].bytes, all[i].n, MSG_NOSIGNAL), all[i].n);
        assert_true(hung_up(fd, 1500));
    }
    int fd = raw_connect();
    much[0] = 1;
    much[1] = ACCOUNT_VERIFY;
    much[2] = 0x48;
    (void)send(fd, much, sizeof much, MSG_NOSIGNAL);
    assert_true(hung_up(fd, 1500));
    fd = raw_connect(); /* says nothing */
    uint64_t began = clock_monotonic_ms();
    assert_true(hung_up(fd, 8000));
    assert_true(clock_monotonic_ms() - began >= 1000);
    /* and still serves */
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    struct local_accounts *l = open_client(socket_path, 5000, "matrix");
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    local_accounts_close(&l);
    end_process(pid);
}

static void many_that_say_nothing_keep_nobody_out_for_long(void **state)
{
    (void)state;
    enum { IDLE = 300 };
    int fds[IDLE];
    char text[LOCAL_ACCOUNT_TEXT_MAX];
    write_matrix_service("matrix");
    pid_t pid = helper_start(NULL);
    for (int i = 0; i < IDLE; i++) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&at, sizeof at);
    }
    struct local_accounts *l = open_client(socket_path, 15000, "matrix");
    assert_int_equal(verify(l, "lou", "L0u-pw!", text), LOCAL_ACCOUNT_OK);
    local_accounts_close(&l);
    for (int i = 0; i < IDLE; i++)
        (void)close(fds[i]);
    end_process(pid);
}

/* ---- the helper of our own ---- */

static pid_t parent_of(pid_t pid)
{
    char path[64], line[512] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    bool read = fgets(line, sizeof line, f) != NULL;
    (void)fclose(f);
    const char *end = strrchr(line, ')');
    int parent = 0;
    char status = 0;
    return read && end != NULL && sscanf(end + 1, " %c %d", &status, &parent) == 2 && status != 'Z'
               ? parent
               : 0;
}

static pid_t child_of(pid_t parent)
{
    DIR *d = opendir("/proc");
    pid_t found = 0;
    assert_non_null(d);
    for (struct dirent *x = readdir(d); x != NULL && found == 0; x = readdir(d)) {
        pid_t pid = (pid_t)strtol(x->d_name, NULL, 10);
        if (pid > 0 && parent_of(pid) == parent)
            found = pid;
    }
    (void)closedir(d);
    return found;
}

static void our_own_helper_is_started_again_when_it_was_killed(void **state)
{
    (void)state;
    char text[LOCAL_ACCOUNT_TEXT_MAX], cure[LOCAL_ACCOUNT_TEXT_MAX];
    struct err e = {0};
    assert_true(local_account_helper_start(helper_program, "", &e));
    struct local_accounts *l = open_client("", 8000, "other");
    const struct local_account_question q = {.account = "bin"};
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_OK);
    bool ready = local_accounts_ready(l, text, cure);
    assert_true(ready || geteuid() != 0);
    if (!ready)
        assert_non_null(strstr(text, "/etc/shadow"));
    pid_t supervisor = child_of(getpid()), server = child_of(supervisor);
    assert_true(supervisor > 0 && server > 0);
    /* The one that serves: its supervisor starts another. */
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(local_accounts_member(l, &q, text), LOCAL_ACCOUNT_OK);
    assert_int_equal(child_of(getpid()), supervisor);
    assert_int_not_equal(child_of(supervisor), server);
    /* The supervisor: we start another. */
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    enum local_account_result result = LOCAL_ACCOUNT_UNAVAILABLE;
    for (int i = 0; i < 20 && result == LOCAL_ACCOUNT_UNAVAILABLE; i++) {
        result = local_accounts_member(l, &q, text);
        rest(50);
    }
    assert_int_equal(result, LOCAL_ACCOUNT_OK);
    assert_int_not_equal(child_of(getpid()), supervisor);
    local_accounts_close(&l);
    local_account_helper_stop();
    assert_int_equal(child_of(getpid()), 0);
    local_account_helper_stop();
}

static void a_program_that_is_not_there_is_an_error_with_its_path(void **state)
{
    (void)state;
    struct err e = {0};
    char text[LOCAL_ACCOUNT_TEXT_MAX], cure[LOCAL_ACCOUNT_TEXT_MAX];
    assert_false(local_account_helper_start("/nonexistent/postern-accounts", "", &e));
    assert_non_null(strstr(e.text, "/nonexistent/postern-accounts"));
    struct local_accounts *l = open_client("", 500, "other");
    assert_false(local_accounts_ready(l, text, cure));
    local_accounts_close(&l);
    /* One that starts and ends at once. */
    local_account_helper_stop();
    assert_true(local_account_helper_start("/bin/false", "", &e));
    l = open_client("", 500, "other");
    assert_false(local_accounts_ready(l, text, cure));
    assert_string_not_equal(text, "");
    local_accounts_close(&l);
    local_account_helper_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_helper_that_hangs_up_is_unavailable_at_once),
        cmocka_unit_test(a_helper_that_is_silent_costs_the_deadline_and_no_more),
        cmocka_unit_test(a_helper_that_talks_nonsense_is_unavailable),
        cmocka_unit_test(an_answer_in_pieces_is_put_together),
        cmocka_unit_test(without_a_helper_the_reason_names_the_socket),
        cmocka_unit_test(a_helper_of_another_user_gets_no_password),
        cmocka_unit_test(right_wrong_and_unknown_are_told_apart),
        cmocka_unit_test(groups_are_asked_of_the_name_service),
        cmocka_unit_test(a_module_that_hangs_is_killed_and_others_go_on),
        cmocka_unit_test(a_module_that_crashes_is_unavailable_at_once),
        cmocka_unit_test(only_so_many_checks_run_at_a_time),
        cmocka_unit_test(guesses_at_one_account_are_bounded_and_right_ones_cost_nothing),
        cmocka_unit_test(questions_in_all_are_bounded),
        cmocka_unit_test(only_root_and_the_allowed_user_are_answered),
        cmocka_unit_test(a_peer_that_talks_nonsense_is_hung_up_on),
        cmocka_unit_test(many_that_say_nothing_keep_nobody_out_for_long),
        cmocka_unit_test(our_own_helper_is_started_again_when_it_was_killed),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error_with_its_path),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
