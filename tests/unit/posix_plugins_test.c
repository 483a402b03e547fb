/* Which of libsasl2's plug-ins are in the process: on Windows there is no loader of plug-ins, and
 * tests/windows/program_test.py looks at what the program imports. */
#include "support/auth_lab.h"
#include "support/test.h"

static void no_plug_in_but_ours_is_loaded(void **state)
{
    (void)state;
    static struct auth_lab lab;
    auth_lab_prepare(&lab);
    auth_lab_open(&lab);
    static const char *const never[] = {"libanonymous", "libcrammd5",  "libdigestmd5", "libntlm",
                                        "libsasldb",    "libgssapiv2", "libgs2"};
    static char maps[1 << 18];
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    maps[fread(maps, 1, sizeof maps - 1, f)] = 0;
    (void)fclose(f);
    assert_non_null(strstr(maps, "libscram"));
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert_null(strstr(maps, never[i]));
    auth_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_plug_in_but_ours_is_loaded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
