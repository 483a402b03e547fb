/* The client of platform/local_account.h against helpers that misbehave, and with the one that it
 * starts itself. */
#define _GNU_SOURCE
#include "base/account_protocol.h"
#include "platform/clock.h"
#include "support/account_lab.h"

#include <dirent.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

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
        cmocka_unit_test(our_own_helper_is_started_again_when_it_was_killed),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error_with_its_path),
    };
    return cmocka_run_group_tests(tests, account_lab_up, account_lab_down);
}
