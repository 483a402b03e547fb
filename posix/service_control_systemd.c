/* The systemd side of platform/service_control.h: systemctl is asked, as an administrator would.
 * A package's unit is enabled as it is, with a drop-in for another configuration; where there is no
 * package, the same unit is written to /etc/systemd/system with this program's path in it. */
#define _GNU_SOURCE
#include "platform/service_control.h"

#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"
#include "posix/systemctl.h"
#include "posix/units.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIT "postern.service"
#define UNIT_FOLDER "/etc/systemd/system"
#define DROP_IN_FOLDER UNIT_FOLDER "/" UNIT ".d"
#define DROP_IN DROP_IN_FOLDER "/50-service-install.conf"
/* Stands in what this command has written, and nothing else is ever removed or replaced. */
#define MARK "# Written by `postern service install`; `postern service uninstall` removes it.\n"

static const char *const ours[] = {UNIT_FOLDER "/" UNIT, UNIT_FOLDER "/postern.socket"};

const char *service_control_manager(void)
{
    return "systemd";
}

/* ---- small parts ---- */

static bool is_ours(const char *path)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    bool it = files_read(path, 64 * 1024, &text, NULL) == FILES_OK &&
              strncmp(buf_cstr(&text), MARK, sizeof MARK - 1) == 0;
    buf_deinit(&text);
    return it;
}

static const char *package_unit(void)
{
    static const char *const places[] = {"/lib/systemd/system/" UNIT,
                                         "/usr/lib/systemd/system/" UNIT};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], F_OK) == 0)
            return places[i];
    return NULL;
}

/* sd_booted(3). */
static bool may_act(bool as_root, struct err *e)
{
    if (access("/run/systemd/system", F_OK) != 0)
        return err_set(e, ERR_TEMP,
                       "systemd does not run on this machine (there is no /run/systemd/system): "
                       "start `postern serve` by what does");
    if (as_root && geteuid() != 0)
        return err_set(e, ERR_PERM, "this needs root: use sudo, or log in as root");
    return true;
}

static bool put(const char *path, struct buf *text, struct buf *said, struct err *e)
{
    if (access(path, F_OK) == 0 && !is_ours(path))
        return err_set(e, ERR_PERM,
                       "%s is there and was not written by this command: move it away, or enable "
                       "it yourself with systemctl enable",
                       path);
    if (text->failed || !durable_file_write(path, buf_span(text), 0644, e))
        return text->failed ? err_set(e, ERR_TEMP, "%s: no memory", path) : false;
    (void)buf_addf(said, "wrote %s\n", path);
    return true;
}

static bool remove_ours(const char *path, struct buf *said, struct err *e)
{
    if (!is_ours(path))
        return true;
    if (files_remove(path, e) == FILES_FAILED)
        return false;
    (void)buf_addf(said, "removed %s\n", path);
    return true;
}

/* ---- install ---- */

/* Quoted for a unit file, systemd.service(5), COMMAND LINES: also % and $ are more than text. */
static bool add_quoted(struct buf *out, const char *text)
{
    (void)buf_add_byte(out, '"');
    for (; *text != 0; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
        if (*text == '"' || *text == '\\')
            (void)buf_add_byte(out, '\\');
        if (*text == '%' || *text == '$')
            (void)buf_add_byte(out, (uint8_t)*text);
        (void)buf_add_byte(out, (uint8_t)*text);
    }
    return buf_add_byte(out, '"');
}

static bool add_command(struct buf *out, const char *key, const char *program, const char *verb,
                        const char *config)
{
    bool ok = buf_addf(out, "%s=", key) && add_quoted(out, program) && buf_addf(out, " %s", verb);
    if (ok && config != NULL)
        ok = buf_add_str(out, " -c ") && add_quoted(out, config);
    return ok && buf_add_byte(out, '\n');
}

/* ProtectHome= and PrivateTmp= hide these from the service. */
static bool is_visible(const char *what, const char *path, struct err *e)
{
    static const char *const hidden[] = {"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (strncmp(path, hidden[i], strlen(hidden[i])) == 0)
            return err_set(e, ERR_PERM,
                           "%s %s lies in %s, which the service cannot see: put it into %s", what,
                           path, hidden[i],
                           strcmp(what, "the program") == 0 ? "/usr/local/sbin" : "/etc/postern");
    return true;
}

static bool own_program(char *out, size_t size, struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    if (n <= 0 || (size_t)n >= size - 1)
        return err_set(e, ERR_TEMP, "/proc/self/exe: readlink: %s", strerror(errno));
    out[n] = 0;
    return true;
}

/* The package's unit with our own command lines: the lines that begin with ExecStart= and
 * ExecReload= are replaced. */
static bool write_unit(const char *program, const char *config, struct buf *said, struct err *e)
{
    struct buf text;
    bool ok = true;
    buf_init(&text, 64 * 1024);
    (void)buf_add_str(&text, MARK);
    for (const char *line = unit_postern_service; *line != 0 && ok;) {
        size_t n = strcspn(line, "\n") + 1;
        if (strncmp(line, "ExecStart=", 10) == 0)
            ok = add_command(&text, "ExecStart", program, "serve", config);
        else if (strncmp(line, "ExecReload=", 11) == 0)
            ok = add_command(&text, "ExecReload", program, "reload", config);
        else
            ok = buf_add(&text, (struct span){(const uint8_t *)line, n});
        line += n;
    }
    if (!ok && !text.failed)
        (void)err_set(e, ERR_PERM, "%s: a control character in a path", config);
    ok = ok && put(ours[0], &text, said, e);
    buf_reset(&text);
    (void)buf_addf(&text, "%s%s", MARK, unit_postern_socket);
    ok = ok && put(ours[1], &text, said, e);
    buf_deinit(&text);
    return ok;
}

static bool make_user(struct buf *said, struct err *e)
{
    static const char file[] = "/etc/sysusers.d/postern.conf";
    if (getpwnam("postern") != NULL)
        return true;
    struct buf text;
    buf_init(&text, 4096);
    (void)buf_addf(&text, "%s%s", MARK, unit_postern_sysusers);
    bool ok = files_make_folder("/etc/sysusers.d", 0755, e) && put(file, &text, said, e) &&
              systemctl_do((const char *const[]){"systemd-sysusers", file, NULL}, e);
    buf_deinit(&text);
    if (ok)
        (void)buf_add_str(said, "made the user postern\n");
    return ok;
}

static bool install_own(const char *config, struct buf *said, struct err *e)
{
    char program[PATH_TEXT_MAX];
    return own_program(program, sizeof program, e) && is_visible("the program", program, e) &&
           make_user(said, e) && write_unit(program, config, said, e);
}

static bool install_packaged(const char *unit, const char *config, struct buf *said, struct err *e)
{
    struct buf text;
    if (config == NULL)
        return remove_ours(DROP_IN, said, e);
    buf_init(&text, 64 * 1024);
    (void)buf_add_str(&text, MARK "[Service]\nExecStart=\n");
    bool ok = add_command(&text, "ExecStart", "/usr/sbin/postern", "serve", config) &&
              buf_add_str(&text, "ExecReload=\n") &&
              add_command(&text, "ExecReload", "/usr/sbin/postern", "reload", config);
    if (!ok)
        (void)err_set(e, ERR_PERM, "%s: a control character in a path", config);
    ok = ok && files_make_folder(DROP_IN_FOLDER, 0755, e) && put(DROP_IN, &text, said, e);
    buf_deinit(&text);
    (void)unit;
    return ok;
}

enum service_control_result service_control_install(const char *config, struct buf *said,
                                                    struct err *e)
{
    const char *packaged = package_unit();
    const char *file = config == NULL ? paths_default_config() : config;
    if (config != NULL && strcmp(config, paths_default_config()) == 0)
        config = NULL;
    if (!may_act(true, e) || !is_visible("the configuration", file, e) ||
        !(packaged != NULL ? install_packaged(packaged, config, said, e)
                           : install_own(config, said, e)) ||
        !systemctl_do((const char *const[]){"systemctl", "daemon-reload", NULL}, e) ||
        !systemctl_do((const char *const[]){"systemctl", "enable", UNIT, NULL}, e))
        return SERVICE_CONTROL_FAILED;
    (void)buf_addf(said, "%s is enabled: it starts with the machine, and now with\n    %s\n", UNIT,
                   "postern service start");
    if (access(file, F_OK) != 0)
        (void)buf_addf(said, "%s is not there yet: write it first, then `postern check`\n", file);
    return SERVICE_CONTROL_DONE;
}

/* ---- state ---- */

struct facts {
    char load[32], active[32], enabled[32], result[32], code[16];
};

static void take(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    out[0] = 0;
    for (const char *line = text; *line != 0; line += strcspn(line, "\n")) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == '=')
            (void)snprintf(out, size, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
    }
}

static enum service_state state_of(const struct facts *f)
{
    static const struct {
        const char *word;
        enum service_state state;
    } words[] = {{"active", SERVICE_STATE_RUNNING},
                 {"reloading", SERVICE_STATE_RELOADING},
                 {"activating", SERVICE_STATE_STARTING},
                 {"deactivating", SERVICE_STATE_STOPPING},
                 {"failed", SERVICE_STATE_FAILED}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(f->active, words[i].word) == 0)
            return words[i].state;
    return strcmp(f->load, "not-found") == 0 ? SERVICE_STATE_ABSENT : SERVICE_STATE_STOPPED;
}

static void describe_failure(const struct facts *f, char *out, size_t size)
{
    (void)snprintf(out, size, "%s, exit code %s; journalctl -u %s tells more", f->result, f->code,
                   UNIT);
}

static bool look(struct service_control_status *out, struct facts *f, struct err *e)
{
    static const char *const show[] = {
        "systemctl", "show", UNIT,
        "--property=LoadState,ActiveState,UnitFileState,MainPID,User,FragmentPath,StatusText,"
        "Result,ExecMainStatus",
        NULL};
    struct buf said;
    int code = 0;
    char pid[24];
    buf_init(&said, 64 * 1024);
    bool ok = systemctl_run(show, &said, &code, e) &&
              (code == 0 ||
               err_set(e, ERR_TEMP, "systemctl show: exit code %d: %s", code, buf_cstr(&said)));
    *out = (struct service_control_status){.name = UNIT};
    const char *text = buf_cstr(&said);
    take(text, "LoadState", f->load, sizeof f->load);
    take(text, "ActiveState", f->active, sizeof f->active);
    take(text, "UnitFileState", f->enabled, sizeof f->enabled);
    take(text, "Result", f->result, sizeof f->result);
    take(text, "ExecMainStatus", f->code, sizeof f->code);
    take(text, "User", out->account, sizeof out->account);
    take(text, "FragmentPath", out->where, sizeof out->where);
    take(text, "StatusText", out->detail, sizeof out->detail);
    take(text, "MainPID", pid, sizeof pid);
    buf_deinit(&said);
    out->process_id = strtoull(pid, NULL, 10);
    out->state = state_of(f);
    out->automatic = strcmp(f->enabled, "enabled") == 0;
    if (out->state == SERVICE_STATE_FAILED)
        describe_failure(f, out->detail, sizeof out->detail);
    return ok;
}

enum service_control_result service_control_status(struct service_control_status *out,
                                                   struct err *e)
{
    struct facts f;
    return may_act(false, e) && look(out, &f, e) ? SERVICE_CONTROL_DONE : SERVICE_CONTROL_FAILED;
}

/* DONE when the unit is known, with what it is. */
static enum service_control_result begin(struct service_control_status *now, struct err *e)
{
    struct facts f;
    if (!may_act(true, e) || !look(now, &f, e))
        return SERVICE_CONTROL_FAILED;
    if (now->state != SERVICE_STATE_ABSENT)
        return SERVICE_CONTROL_DONE;
    (void)err_set(e, ERR_PERM, "%s is not installed: postern service install", UNIT);
    return SERVICE_CONTROL_ABSENT;
}

/* ---- start, stop, uninstall ---- */

enum service_control_result service_control_start(struct buf *said, struct err *e)
{
    struct service_control_status now;
    struct facts f = {.load = ""};
    enum service_control_result result = begin(&now, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    if (now.state == SERVICE_STATE_RUNNING) {
        (void)buf_addf(said, "%s runs already\n", UNIT);
        return SERVICE_CONTROL_DONE;
    }
    struct err why = {0};
    if (systemctl_do((const char *const[]){"systemctl", "start", UNIT, NULL}, &why)) {
        (void)buf_addf(said, "%s is started\n", UNIT);
        return SERVICE_CONTROL_DONE;
    }
    if (!look(&now, &f, e))
        return SERVICE_CONTROL_FAILED;
    char text[256];
    describe_failure(&f, text, sizeof text);
    (void)err_set(e, ERR_PERM, "%s did not start: %s", UNIT,
                  f.result[0] == 0 || strcmp(f.result, "success") == 0 ? why.text : text);
    return SERVICE_CONTROL_REFUSED;
}

enum service_control_result service_control_stop(struct buf *said, struct err *e)
{
    struct service_control_status now;
    enum service_control_result result = begin(&now, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    bool ran = now.state != SERVICE_STATE_STOPPED && now.state != SERVICE_STATE_FAILED;
    if (!systemctl_do((const char *const[]){"systemctl", "stop", UNIT, NULL}, e))
        return SERVICE_CONTROL_FAILED;
    (void)buf_addf(said, ran ? "%s is stopped\n" : "%s did not run\n", UNIT);
    if (systemctl_do(
            (const char *const[]){"systemctl", "--quiet", "is-active", "postern.socket", NULL},
            NULL))
        (void)buf_add_str(said, "postern.socket still listens: the next client starts the service; "
                                "systemctl stop postern.socket ends that too\n");
    return SERVICE_CONTROL_DONE;
}

enum service_control_result service_control_uninstall(struct buf *said, struct err *e)
{
    struct service_control_status now;
    enum service_control_result result = begin(&now, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    bool with_socket = access(ours[1], F_OK) == 0 || package_unit() != NULL;
    if (with_socket && !systemctl_do((const char *const[]){"systemctl", "disable", "--now",
                                                           "postern.socket", UNIT, NULL},
                                     e))
        return SERVICE_CONTROL_FAILED;
    if (!with_socket &&
        !systemctl_do((const char *const[]){"systemctl", "disable", "--now", UNIT, NULL}, e))
        return SERVICE_CONTROL_FAILED;
    (void)buf_addf(said, "%s is stopped and disabled\n", UNIT);
    bool ok = remove_ours(DROP_IN, said, e);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        ok = ok && remove_ours(ours[i], said, e);
    ok = ok && remove_ours("/etc/sysusers.d/postern.conf", said, e) &&
         systemctl_do((const char *const[]){"systemctl", "daemon-reload", NULL}, e);
    if (!ok)
        return SERVICE_CONTROL_FAILED;
    (void)rmdir(DROP_IN_FOLDER); /* if it is empty */
    if (package_unit() != NULL)
        (void)buf_addf(said, "%s is the package's: apt remove postern takes it away\n",
                       package_unit());
    (void)buf_add_str(said, "configuration, data and the user postern are kept\n");
    return SERVICE_CONTROL_DONE;
}

static enum service_control_result no_pause(struct err *e)
{
    (void)err_set(e, ERR_PERM,
                  "systemd has no pause: postern service stop, or "
                  "access.connection for some clients alone");
    return SERVICE_CONTROL_REFUSED;
}

enum service_control_result service_control_pause(struct buf *said, struct err *e)
{
    (void)said;
    return no_pause(e);
}

enum service_control_result service_control_continue(struct buf *said, struct err *e)
{
    (void)said;
    return no_pause(e);
}
