#define _GNU_SOURCE
#include "posix/helper/ready.h"

#include "base/account_protocol.h"
#include "posix/helper/shadow.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096, LINE_BYTES_MAX = 1024 };

/* Linux-PAM looks there, in this order. */
static const char *const folders[] = {"/etc/pam.d", "/usr/lib/pam.d"};

static FILE *open_service(const char *pam_directory, const char *service)
{
    char path[PATH_BYTES_MAX];
    size_t n = pam_directory != NULL ? 1 : sizeof folders / sizeof *folders;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s",
                       pam_directory != NULL ? pam_directory : folders[i], service);
        FILE *f = fopen(path, "re");
        if (f != NULL)
            return f;
    }
    return NULL;
}

/* Whether it asks pam_unix, or may by way of another file. */
static bool wants_shadow(FILE *f)
{
    char line[LINE_BYTES_MAX];
    bool wants = false;
    while (fgets(line, sizeof line, f) != NULL)
        wants = wants || (line[0] != '#' &&
                          (strstr(line, "pam_unix") != NULL || strstr(line, "include") != NULL ||
                           strstr(line, "substack") != NULL));
    return wants;
}

bool ready_look(const char *pam_directory, struct span name, char reason[LOCAL_ACCOUNT_TEXT_MAX],
                char cure[LOCAL_ACCOUNT_TEXT_MAX])
{
    char service[ACCOUNT_SERVICE_MAX + 1];
    reason[0] = cure[0] = '\0';
    if (!span_cstr(name, service, sizeof service)) {
        (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX, "the PAM service is malformed");
        return false;
    }
    FILE *f = open_service(pam_directory, service);
    if (f == NULL) {
        (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX, "there is no PAM service %s", service);
        (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX,
                       "install packaging/pam/postern as %s/%s, see docs/local-accounts.md",
                       pam_directory != NULL ? pam_directory : folders[0], service);
        return false;
    }
    bool wants = wants_shadow(f);
    (void)fclose(f);
    if (!wants || geteuid() == 0 || shadow_readable())
        return true;
    (void)snprintf(reason, LOCAL_ACCOUNT_TEXT_MAX,
                   "the account helper was started without root and cannot read /etc/shadow");
    (void)snprintf(cure, LOCAL_ACCOUNT_TEXT_MAX,
                   "restart the service as root with service.user, or set helper, or put the "
                   "user into group shadow");
    return false;
}
