/* The account helper with PAM modules that do what they should and that misbehave; pam_unix itself
 * is in tests/e2e/local_accounts_test.py. */
#define _GNU_SOURCE
#include "base/account_protocol.h"
#include "platform/clock.h"
#include "support/account_lab.h"

#include <grp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, account_lab_up, account_lab_down);
}
