#include "commands/check_certificates.h"
#include "commands/check_readiness.h"
#include "commands/commands.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { KEY_MAX = 96 };

static void warn(const struct policy *p, struct config_messages *m, const char *key,
                 const char *format, const char *what)
{
    char text[512];
    (void)snprintf(text, sizeof text, format, what);
    config_messages_add(m, CONFIG_WARNING, p->config->path, config_where(p->config, key, NULL), key,
                        "%s", text);
}

static void check_password_file(const struct policy *p, struct config_messages *m, const char *key,
                                const char *path)
{
    struct files_info info;
    struct err e = {0};
    struct arena arena;
    arena_init(&arena, 2 * PATH_TEXT_MAX);
    const char *resolved = path[0] == '\0' ? NULL : config_file_path(p->config, &arena, path);
    if (resolved != NULL) {
        enum files_result found = files_stat(resolved, &info, &e);
        if (found == FILES_ABSENT)
            warn(p, m, key, "%s does not exist: mail will wait", resolved);
        else if (found == FILES_FAILED)
            warn(p, m, key, "cannot be looked at: %s", e.text);
        else if (info.others_read)
            warn(p, m, key, "%s can be read by other users of this machine", resolved);
    }
    arena_deinit(&arena);
}

static void check_password_files(const struct policy *p, struct config_messages *m)
{
    const struct config *c = p->config;
    check_password_file(p, m, "delivery.authentication.password_file",
                        c->delivery.authentication.password_file);
    for (size_t i = 0; i < c->domains.count; i++) {
        char key[KEY_MAX];
        (void)snprintf(key, sizeof key, "domains[%zu].authentication.password_file", i);
        check_password_file(p, m, key, c->domains.items[i].authentication.password_file);
    }
}

static json_t *text(const char *s)
{
    json_t *t = json_string(s);
    return t != NULL ? t : json_string("(not UTF-8)");
}

static int print_json(const char *path, const struct config_messages *m,
                      const struct check_readiness *readiness,
                      const struct check_certificates *certificates, bool valid, int code)
{
    json_t *list = json_array(), *all = NULL;
    for (size_t i = 0; i < m->count; i++) {
        const struct config_message *x = &m->items[i];
        json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:i, s:o, s:o}", "severity",
                                              x->severity == CONFIG_ERROR ? "error" : "warning",
                                              "file", text(x->file), "line", (int)x->at.line,
                                              "column", (int)x->at.column, "key", text(x->key),
                                              "text", text(x->text)));
    }
    all = json_pack("{s:b, s:o, s:I, s:I, s:o, s:o, s:o}", "valid", valid, "file", text(path),
                    "errors", (json_int_t)m->errors, "warnings", (json_int_t)m->warnings,
                    "messages", list, "authentication", check_readiness_json(readiness),
                    "certificates", check_certificates_json(certificates));
    char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
    if (out != NULL)
        puts(out);
    else
        code = EXIT_INTERNAL;
    free(out);
    json_decref(all);
    return code;
}

static void print_text(const char *path, const struct config_messages *m,
                       const struct check_readiness *readiness,
                       struct check_certificates *certificates)
{
    command_print_messages(m, CONFIG_ERROR, stderr);
    command_print_messages(m, CONFIG_WARNING, stdout);
    check_certificates_text(certificates, stdout);
    check_readiness_text(readiness, stdout);
    if (m->errors > 0)
        printf("%s: invalid: %zu error%s, %zu warning%s\n", path, m->errors,
               m->errors == 1 ? "" : "s", m->warnings, m->warnings == 1 ? "" : "s");
    else
        printf("%s: valid, %zu warning%s\n", path, m->warnings, m->warnings == 1 ? "" : "s");
}

int command_check(int argc, char **argv)
{
    const char *path = paths_default_config();
    bool json = false, connect = false, grant = false, granted = true;
    const struct option options[] = {
        OPTION_CONFIG(&path),
        OPTION_JSON(&json),
        {.name = "connect",
         .help = "also ask the controllers and directories of the domains whether they answer",
         .flag = &connect},
        {.name = "grant-key",
         .help = "Windows: give the service's account the right to read the keys of the "
                 "certificates",
         .flag = &grant}};
    struct command_line line = {
        .usage = "postern check [-c FILE] [--json] [--connect] [--grant-key]",
        .about = "Validates the configuration and reviews it: an open relay, passwords in clear,\n"
                 "certificates near their end; and lets every mechanism and every backend of "
                 "accounts\nprove itself, as the service's user where root asks. Exit code 0 with "
                 "warnings, 78 with\nerrors.",
        OPTIONS(options)};
    struct config_messages m;
    struct check_readiness readiness = {0};
    struct check_certificates certificates = {0};
    struct policy *p;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    config_messages_init(&m);
    code = command_config_exit(policy_load(path, NULL, 0, &p, &m));
    if (p != NULL) {
        policy_review(p, &m);
        granted = check_certificates_open(p, grant, &m, &certificates);
        check_password_files(p, &m);
        check_readiness_open(p, connect, &m, &readiness);
        config_messages_sort(&m);
        if (m.errors > 0)
            code = EXIT_CONFIG;
    }
    bool valid = code == EXIT_DONE;
    if (valid && !granted)
        code = EXIT_IO;
    if (json)
        code = print_json(path, &m, &readiness, &certificates, valid, code);
    else
        print_text(path, &m, &readiness, &certificates);
    check_readiness_close(&readiness);
    check_certificates_close(&certificates);
    policy_unref(&p);
    config_messages_deinit(&m);
    return code;
}
