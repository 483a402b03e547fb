/* Files, folders, locks and paths on Windows: what their headers in platform/ promise. */
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"

#include "support/folder.h"
#include "support/test.h"

#include <windows.h>

static char folder[200];

static void path_of(const char *name, char out[PATH_TEXT_MAX])
{
    assert_true(paths_join(folder, name, out, PATH_TEXT_MAX));
}

static void assert_holds(const char *path, const char *text)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 1000);
    if (files_read(path, 1000, &b, &e) != FILES_OK)
        fail_msg("%s", e.text);
    assert_string_equal(buf_cstr(&b), text);
    buf_deinit(&b);
}

static void a_durable_file_replaces_only_when_told(void **state)
{
    (void)state;
    char path[PATH_TEXT_MAX];
    struct err e = {0};
    struct durable_file f;
    path_of("d\xc3\xbcrable.txt", path);
    assert_true(durable_file_write(path, span_str("one"), 0600, &e));
    assert_holds(path, "one");
    assert_true(durable_file_begin(&f, folder, 0600, &e));
    assert_true(durable_file_add(&f, span_str("two"), &e));
    assert_false(durable_file_commit(&f, path, false, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_holds(path, "one");
    assert_true(durable_file_write(path, span_str("three"), 0600, &e));
    assert_holds(path, "three");
    assert_int_equal(files_remove(path, &e), FILES_OK);
}

static void an_aborted_or_failed_file_leaves_nothing(void **state)
{
    (void)state;
    struct arena a;
    const char **names;
    size_t n;
    bool more;
    struct err e = {0};
    struct durable_file f;
    assert_true(durable_file_begin(&f, folder, 0600, &e));
    durable_file_abort(&f);
    durable_file_abort(&f);
    assert_true(durable_file_begin(&f, folder, 0600, &e));
    assert_false(durable_file_commit(&f, "Z:/no/such/folder/x", true, &e));
    arena_init(&a, 100000);
    assert_true(files_list(folder, 100, &a, &names, &n, &more, &e));
    assert_int_equal(n, 0);
    arena_deinit(&a);
    assert_false(durable_file_begin(&f, "Z:/no/such/folder", 0600, &e));
    assert_int_equal(e.class, ERR_PERM);
    assert_false(durable_folder_sync("Z:/no/such/folder", &e));
}

/* Its folder lets everybody in, which it would inherit. */
static void a_file_of_0600_is_ours_alone_and_gives_its_rights_to_others(void **state)
{
    (void)state;
    char open_folder[PATH_TEXT_MAX], secret[PATH_TEXT_MAX], plain[PATH_TEXT_MAX];
    struct files_info info;
    struct err e = {0};
    path_of("open", open_folder);
    assert_true(files_make_folder(open_folder, 0777, &e));
    assert_true(paths_join(open_folder, "secret", secret, sizeof secret));
    assert_true(paths_join(open_folder, "plain", plain, sizeof plain));
    assert_true(durable_file_write(secret, span_str("s"), 0600, &e));
    assert_true(durable_file_write(plain, span_str("p"), 0644, &e));
    assert_int_equal(files_stat(secret, &info, &e), FILES_OK);
    assert_false(info.others_read || info.others_write);
    assert_int_equal(files_stat(plain, &info, &e), FILES_OK);
    assert_true(info.others_read);
    assert_true(files_rights_like(plain, secret, &e));
    assert_int_equal(files_stat(plain, &info, &e), FILES_OK);
    assert_false(info.others_read || info.others_write);
    assert_holds(secret, "s");
    assert_holds(plain, "p");
    assert_int_equal(files_remove(plain, &e), FILES_OK);
    assert_true(files_rights_like(plain, secret, &e)); /* none is fine */
    assert_int_equal(files_remove(secret, &e), FILES_OK);
    assert_true(RemoveDirectoryA(open_folder));
}

static void a_lock_is_held_once_also_in_this_process(void **state)
{
    (void)state;
    char path[PATH_TEXT_MAX];
    struct file_lock one, two;
    struct err e = {0};
    bool busy;
    path_of("lock", path);
    assert_true(file_lock_open(&one, path, &busy, &e));
    assert_false(file_lock_open(&two, path, &busy, &e));
    assert_true(busy);
    file_lock_close(&one);
    assert_true(file_lock_open(&two, path, &busy, &e));
    file_lock_close(&two);
    assert_int_equal(files_remove(path, &e), FILES_OK);
}

static void a_missing_file_is_told_from_a_failure(void **state)
{
    (void)state;
    char path[PATH_TEXT_MAX];
    struct files_info info;
    struct file_reader r;
    struct buf b;
    struct err e = {0};
    buf_init(&b, 100);
    path_of("absent", path);
    assert_int_equal(files_stat(path, &info, &e), FILES_ABSENT);
    assert_int_equal(files_read(path, 100, &b, &e), FILES_ABSENT);
    assert_int_equal(files_remove(path, &e), FILES_ABSENT);
    assert_int_equal(file_reader_open(&r, folder, &info, &e), FILES_FAILED);
    assert_int_equal(files_stat(folder, &info, &e), FILES_OK);
    assert_true(info.folder && !info.regular);
    uint64_t available = 0;
    assert_true(files_free_bytes(folder, &available, &e));
    assert_true(available > 0);
}

static void a_reader_gives_the_bytes_from_any_place(void **state)
{
    (void)state;
    char path[PATH_TEXT_MAX], some[4];
    struct file_reader r;
    struct files_info info;
    struct err e = {0};
    size_t n;
    path_of("bytes", path);
    assert_true(durable_file_write(path, span_of("a\r\nb\0c", 6), 0600, &e));
    assert_int_equal(file_reader_open(&r, path, &info, &e), FILES_OK);
    assert_int_equal(info.size, 6);
    assert_true(file_reader_next(&r, some, sizeof some, &n, &e));
    assert_int_equal(n, 4);
    assert_memory_equal(some, "a\r\nb", 4);
    assert_true(file_reader_seek(&r, 1, &e));
    assert_true(file_reader_next(&r, some, 2, &n, &e));
    assert_memory_equal(some, "\r\n", 2);
    file_reader_close(&r);
    assert_int_equal(files_remove(path, &e), FILES_OK);
}

static void a_file_that_is_being_written_shows(void **state)
{
    (void)state;
    char path[PATH_TEXT_MAX];
    wchar_t wide[PATH_TEXT_MAX];
    struct err e = {0};
    path_of("growing", path);
    assert_true(MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, PATH_TEXT_MAX) > 0);
    HANDLE writer = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                                CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    assert_true(writer != INVALID_HANDLE_VALUE);
    assert_int_equal(files_use(path), FILES_BEING_WRITTEN);
    assert_true(CloseHandle(writer));
    assert_int_equal(files_use(path), FILES_NOT_WRITTEN);
    assert_int_equal(files_remove(path, &e), FILES_OK);
    assert_int_equal(files_use(path), FILES_USE_UNKNOWN);
}

static void names_past_260_characters_work(void **state)
{
    (void)state;
    char deep[PATH_TEXT_MAX], path[PATH_TEXT_MAX], part[101];
    struct err e = {0};
    struct files_info info;
    memset(part, 'x', 100);
    part[100] = 0;
    (void)snprintf(deep, sizeof deep, "%s/%s/%s/%s", folder, part, part, part);
    assert_true(files_make_folder(deep, 0755, &e));
    assert_true(files_make_folder(deep, 0755, &e));
    assert_true(paths_join(deep, "file", path, sizeof path));
    assert_true(durable_file_write(path, span_str("far"), 0600, &e));
    assert_holds(path, "far");
    assert_int_equal(files_stat(path, &info, &e), FILES_OK);
    assert_int_equal(files_remove(path, &e), FILES_OK);
}

static void paths_are_joined_and_cut_as_windows_has_them(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *name, *whole;
    } joins[] = {
        {"C:\\a", "b", "C:\\a\\b"},     {"C:\\a\\", "b", "C:\\a\\b"},
        {"C:/a/", "b", "C:/a/b"},       {"C:/a", "b", "C:/a/b"}, /* goes on as it is written */
        {"C:/a\\c", "b", "C:/a\\c\\b"}, {"C:", "b", "C:\\b"},
        {"C:\\a", "D:\\b", "D:\\b"},    {"C:\\a", "\\\\s\\h", "\\\\s\\h"},
        {"C:\\a", "/b", "/b"},          {"", "b", "b"}};
    static const struct {
        const char *path, *folder;
    } folders[] = {{"C:\\a\\b", "C:\\a"}, {"C:/a/b", "C:/a"}, {"C:\\a", "C:\\"}, {"a", "."},
                   {"a\\b", "a"},         {"\\a", "\\"}};
    char out[100];
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        assert_true(paths_join(joins[i].folder, joins[i].name, out, sizeof out));
        assert_string_equal(out, joins[i].whole);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        assert_true(paths_folder(folders[i].path, out, sizeof out));
        assert_string_equal(out, folders[i].folder);
    }
    assert_false(paths_join("C:\\a", "b", out, 5));
    assert_false(paths_is_absolute("C:a"));
    assert_true(paths_is_absolute("c:/a"));
}

static void one_folder_has_one_control_channel_however_it_is_spelt(void **state)
{
    (void)state;
    char one[200], two[200], other[200];
    assert_true(paths_control("C:\\ProgramData\\Postern", one, sizeof one));
    assert_true(paths_control("c:/programdata/POSTERN/", two, sizeof two));
    assert_true(paths_control("C:\\ProgramData\\Postern2", other, sizeof other));
    assert_string_equal(one, two);
    assert_string_not_equal(one, other);
    assert_int_equal(strncmp(one, "\\\\.\\pipe\\postern-", 17), 0);
}

static void the_places_of_the_system_are_found(void **state)
{
    (void)state;
    struct err e = {0};
    struct files_info info;
    assert_non_null(strstr(paths_default_config(), "\\Postern\\postern.yaml"));
    assert_true(paths_is_absolute(paths_default_data_directory()));
    assert_non_null(strstr(paths_default_data_directory(), "\\ProgramData\\Postern"));
    assert_int_equal(files_stat(paths_hosts_file(), &info, &e), FILES_OK);
}

int main(void)
{
    test_folder("win32", folder, sizeof folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_durable_file_replaces_only_when_told),
        cmocka_unit_test(an_aborted_or_failed_file_leaves_nothing),
        cmocka_unit_test(a_file_of_0600_is_ours_alone_and_gives_its_rights_to_others),
        cmocka_unit_test(a_lock_is_held_once_also_in_this_process),
        cmocka_unit_test(a_missing_file_is_told_from_a_failure),
        cmocka_unit_test(a_reader_gives_the_bytes_from_any_place),
        cmocka_unit_test(a_file_that_is_being_written_shows),
        cmocka_unit_test(names_past_260_characters_work),
        cmocka_unit_test(paths_are_joined_and_cut_as_windows_has_them),
        cmocka_unit_test(one_folder_has_one_control_channel_however_it_is_spelt),
        cmocka_unit_test(the_places_of_the_system_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
