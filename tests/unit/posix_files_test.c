/* What the system does for us: durable files, locks, folders, small reads, leases. */
#define _GNU_SOURCE
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"

#include "support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static void put(const char *path, const char *text)
{
    struct err e;
    if (!durable_file_write(path, span_str(text), 0600, &e))
        fail_msg("%s", e.text);
}

static void assert_holds(const char *path, const char *text)
{
    struct buf b;
    struct err e;
    buf_init(&b, 4096);
    assert_int_equal(files_read(path, 4096, &b, &e), FILES_OK);
    assert_string_equal(buf_cstr(&b), text);
    buf_deinit(&b);
}

static size_t names_in(const char *path)
{
    struct arena a;
    struct err e;
    const char **names;
    size_t n;
    bool more;
    arena_init(&a, 65536);
    assert_true(files_list(path, 1000, &a, &names, &n, &more, &e));
    arena_deinit(&a);
    return n;
}

static void a_file_appears_whole_under_its_name_or_not_at_all(void **state)
{
    (void)state;
    struct durable_file f;
    struct err e;
    struct files_info info;
    assert_true(files_make_folder(in_folder("drop/.tmp"), 0700, &e));
    (void)umask(077);
    assert_true(durable_file_begin(&f, in_folder("drop/.tmp"), 0640, &e));
    assert_true(durable_file_add(&f, span_str("one "), &e));
    assert_true(durable_file_add(&f, span_str("two"), &e));
    assert_int_equal(files_stat(in_folder("drop/a.eml"), &info, NULL), FILES_ABSENT);
    assert_true(durable_file_commit(&f, in_folder("drop/a.eml"), false, &e));
    assert_holds(in_folder("drop/a.eml"), "one two");
    struct stat st;
    assert_int_equal(stat(in_folder("drop/a.eml"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* whatever the umask */
    assert_int_equal(names_in(in_folder("drop/.tmp")), 0);

    assert_true(durable_file_begin(&f, in_folder("drop/.tmp"), 0600, &e));
    assert_true(durable_file_add(&f, span_str("three"), &e));
    assert_false(durable_file_commit(&f, in_folder("drop/a.eml"), false, &e)); /* it is there */
    assert_int_equal(e.class, ERR_PERM);
    assert_holds(in_folder("drop/a.eml"), "one two");
    assert_int_equal(names_in(in_folder("drop/.tmp")), 0);

    assert_true(durable_file_begin(&f, in_folder("drop/.tmp"), 0600, &e));
    durable_file_abort(&f);
    durable_file_abort(&f);
    assert_int_equal(names_in(in_folder("drop/.tmp")), 0);
    assert_false(durable_file_begin(&f, in_folder("nowhere"), 0600, &e));
    assert_int_equal(e.class, ERR_PERM);
    put(in_folder("drop/a.eml"), "replaced");
    assert_holds(in_folder("drop/a.eml"), "replaced");
}

static void a_full_disk_is_an_error_for_now_and_leaves_nothing(void **state)
{
    (void)state;
    struct durable_file f;
    struct err e;
    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_true(durable_file_begin(&f, folder, 0600, &e));
    (void)close((int)f.handle); /* the kernel's own full disk in its place */
    f.handle = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(f.handle >= 0);
    size_t before = names_in(folder);
    assert_false(durable_file_add(&f, span_str("x"), &e));
    assert_int_equal(e.class, ERR_TEMP);
    assert_non_null(strstr(e.text, "No space left"));
    assert_int_equal(names_in(folder), before - 1);
}

static void a_lock_excludes_others_until_its_process_is_gone(void **state)
{
    (void)state;
    struct file_lock mine, again;
    struct err e;
    bool busy = false;
    const char *path = in_folder("lock");
    int hold[2];
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool ok = file_lock_open(&mine, path, NULL, NULL);
        (void)!write(hold[1], ok ? "y" : "n", 1);
        (void)pause();
        _exit(0);
    }
    char said = 0;
    assert_int_equal(read(hold[0], &said, 1), 1);
    assert_int_equal(said, 'y');
    assert_false(file_lock_open(&again, path, &busy, &e));
    assert_true(busy);
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(file_lock_open(&mine, path, &busy, &e));
    assert_false(file_lock_open(&again, path, &busy, &e)); /* in this process too */
    assert_true(busy);
    file_lock_close(&mine);
    assert_true(file_lock_open(&again, path, &busy, &e));
    file_lock_close(&again);
    assert_false(file_lock_open(&again, in_folder("no/such/lock"), &busy, &e));
    assert_false(busy);
    (void)close(hold[0]);
    (void)close(hold[1]);
}

static void small_reads_are_bounded_and_take_regular_files_only(void **state)
{
    (void)state;
    struct buf b;
    struct err e;
    put(in_folder("small"), "12345");
    buf_init(&b, 100);
    assert_int_equal(files_read(in_folder("small"), 4, &b, &e), FILES_FAILED);
    assert_non_null(strstr(e.text, "larger than 4 bytes"));
    buf_reset(&b);
    assert_int_equal(files_read(in_folder("small"), 5, &b, &e), FILES_OK);
    buf_reset(&b);
    assert_int_equal(files_read(in_folder("absent"), 5, &b, &e), FILES_ABSENT);
    assert_int_equal(files_read(folder, 5, &b, &e), FILES_FAILED);
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(files_read(in_folder("fifo"), 5, &b, &e), FILES_FAILED); /* and no waiting */
    struct file_reader r;
    struct files_info info;
    assert_int_equal(symlink(in_folder("small"), in_folder("link")), 0);
    assert_int_equal(file_reader_open(&r, in_folder("link"), &info, &e), FILES_FAILED);
    assert_int_equal(file_reader_open(&r, in_folder("fifo"), &info, &e), FILES_FAILED);
    assert_int_equal(file_reader_open(&r, in_folder("small"), &info, &e), FILES_OK);
    assert_int_equal(info.size, 5);
    char some[3];
    size_t n;
    assert_true(file_reader_seek(&r, 1, &e));
    assert_true(file_reader_next(&r, some, sizeof some, &n, &e) && n == 3);
    assert_memory_equal(some, "234", 3);
    assert_true(file_reader_next(&r, some, sizeof some, &n, &e) && n == 1);
    assert_true(file_reader_next(&r, some, sizeof some, &n, &e) && n == 0);
    file_reader_close(&r);
    buf_deinit(&b);
}

static void folders_are_made_listed_and_bounded(void **state)
{
    (void)state;
    struct err e;
    struct arena a;
    const char **names;
    size_t n;
    bool more;
    arena_init(&a, 1024 * 1024);
    assert_true(files_make_folder(in_folder("deep/er/est"), 0750, &e));
    assert_true(files_make_folder(in_folder("deep/er/est"), 0700, &e)); /* is fine, and keeps */
    struct stat st;
    assert_int_equal(stat(in_folder("deep/er/est"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    put(in_folder("file"), "x");
    assert_false(files_make_folder(in_folder("file"), 0700, &e));
    assert_non_null(strstr(e.text, "no folder"));
    for (int i = 0; i < 150; i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "deep/er/est/%03d", i);
        int fd = open(in_folder(name), O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    assert_true(files_list(in_folder("deep/er/est"), 1000, &a, &names, &n, &more, &e));
    assert_int_equal(n, 150);
    assert_false(more);
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned)atoi(names[i]);
    assert_int_equal(sum, 149 * 150 / 2);
    assert_true(files_list(in_folder("deep/er/est"), 100, &a, &names, &n, &more, &e));
    assert_int_equal(n, 100);
    assert_true(more);
    assert_false(files_list(in_folder("absent"), 100, &a, &names, &n, &more, &e));
    arena_deinit(&a);
}

static void a_file_under_its_writers_hands_is_seen(void **state)
{
    (void)state;
    struct err e;
    put(in_folder("pickup"), "x");
    enum files_use idle = files_use(in_folder("pickup"));
    if (idle == FILES_USE_UNKNOWN)
        skip(); /* a file system without leases */
    assert_int_equal(idle, FILES_NOT_WRITTEN);
    int fd = open(in_folder("pickup"), O_WRONLY);
    assert_int_equal(files_use(in_folder("pickup")), FILES_BEING_WRITTEN);
    (void)close(fd);
    assert_int_equal(files_use(in_folder("pickup")), FILES_NOT_WRITTEN);
    assert_int_equal(files_use(in_folder("absent")), FILES_USE_UNKNOWN);
    assert_int_equal(files_rename(in_folder("pickup"), in_folder("small"), false, &e),
                     FILES_FAILED);
    assert_int_equal(files_rename(in_folder("pickup"), in_folder("moved"), false, &e), FILES_OK);
    assert_int_equal(files_remove(in_folder("moved"), &e), FILES_OK);
    assert_int_equal(files_remove(in_folder("moved"), &e), FILES_ABSENT);
}

static void names_are_joined_and_taken_apart(void **state)
{
    (void)state;
    char out[16];
    assert_true(paths_join("/a", "b", out, sizeof out));
    assert_string_equal(out, "/a/b");
    assert_true(paths_join("/a/", "b", out, sizeof out));
    assert_string_equal(out, "/a/b");
    assert_true(paths_join("/a", "/b", out, sizeof out));
    assert_string_equal(out, "/b");
    assert_false(paths_join("/0123456789", "01234", out, sizeof out));
    assert_true(paths_folder("/a/b", out, sizeof out));
    assert_string_equal(out, "/a");
    assert_true(paths_folder("/b", out, sizeof out));
    assert_string_equal(out, "/");
    assert_true(paths_folder("b", out, sizeof out));
    assert_string_equal(out, ".");
    assert_string_equal(paths_default_data_directory(), "/var/lib/postern");
    assert_string_equal(paths_default_config(), "/etc/postern/postern.yaml");
    char here[256], whole[300];
    assert_true(paths_absolute("/a/b", whole, sizeof whole));
    assert_string_equal(whole, "/a/b");
    assert_non_null(getcwd(here, sizeof here));
    assert_true(paths_absolute("b.yaml", whole, sizeof whole));
    assert_memory_equal(whole, here, strlen(here));
    assert_string_equal(whole + strlen(here), "/b.yaml");
    assert_false(paths_absolute("/0123456789abcdef", out, sizeof out));
}

static void a_credential_is_found_in_the_folder_of_the_service_manager(void **state)
{
    (void)state;
    char out[256];
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    /* of its own, of a loaded folder, and one that is not there: its place is said all the same */
    put(in_folder("one.pem"), "1");
    put(in_folder("postern_two.pem"), "2");
    assert_true(paths_credential("one.pem", out, sizeof out));
    assert_string_equal(out, in_folder("one.pem"));
    assert_true(paths_credential("two.pem", out, sizeof out));
    assert_string_equal(out, in_folder("postern_two.pem"));
    assert_true(paths_credential("three.pem", out, sizeof out));
    assert_string_equal(out, in_folder("three.pem"));
    static const char *const never[] = {"", ".", "..", "../one.pem", "/etc/passwd", "a/b"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        assert_false(paths_credential(never[i], out, sizeof out));
        assert_string_equal(out, "");
    }
    assert_false(paths_credential("one.pem", out, 8));
    /* a command by hand names the place that the unit loads from */
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_true(paths_credential("postern-test-absent", out, sizeof out));
    assert_string_equal(out, "/etc/postern/credentials/postern-test-absent");
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/postern-files-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_appears_whole_under_its_name_or_not_at_all),
        cmocka_unit_test(a_full_disk_is_an_error_for_now_and_leaves_nothing),
        cmocka_unit_test(a_lock_excludes_others_until_its_process_is_gone),
        cmocka_unit_test(small_reads_are_bounded_and_take_regular_files_only),
        cmocka_unit_test(folders_are_made_listed_and_bounded),
        cmocka_unit_test(a_file_under_its_writers_hands_is_seen),
        cmocka_unit_test(names_are_joined_and_taken_apart),
        cmocka_unit_test(a_credential_is_found_in_the_folder_of_the_service_manager),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
