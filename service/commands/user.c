/* postern user: the embedded user database, whether the service runs or not. */
#include "auth/identity.h"
#include "auth/userdb.h"
#include "commands/commands.h"
#include "platform/files.h"
#include "platform/terminal.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROMPT_MAX = USERDB_NAME_MAX + 64 };

struct user_call {
    const struct policy *policy;
    const char *verb;
    const char *name; /* of the account; NULL for list */
    bool password_stdin;
    bool json;
    struct userdb *db; /* NULL: there is no file yet */
};

static json_t *json_text(const char *text)
{
    json_t *j = json_string(text);
    return j != NULL ? j : json_string("(not UTF-8)");
}

static int print_json(json_t *what, int code)
{
    char *text = what != NULL ? json_dumps(what, JSON_INDENT(2)) : NULL;
    if (text != NULL)
        puts(text);
    else
        code = EXIT_INTERNAL;
    free(text);
    json_decref(what);
    return code;
}

/* The end of a change: in words on the terminal, or as one JSON object. */
static int finish(const struct user_call *u, int code, const struct err *e)
{
    if (u->json)
        return print_json(json_pack("{s:s, s:o, s:b, s:o}", "action", u->verb, "name",
                                    json_text(u->name), "done", code == EXIT_DONE, "error",
                                    code == EXIT_DONE ? json_null() : json_text(e->text)),
                          code);
    if (code != EXIT_DONE)
        fprintf(stderr, "postern user %s: %s\n", u->verb, e->text);
    return code;
}

static int exit_of(enum userdb_result result, const struct err *e)
{
    switch (result) {
    case USERDB_DONE: return EXIT_DONE;
    case USERDB_EXISTS:
    case USERDB_UNKNOWN:
    case USERDB_BAD_NAME:
    case USERDB_BAD_PASSWORD: return EXIT_NO;
    case USERDB_FAILED: break;
    }
    return e->class == ERR_BUG ? EXIT_INTERNAL : EXIT_IO;
}

/* --- which account --------------------------------------------------------------------------- */

static size_t first_userdb(const struct auth_options *o)
{
    size_t i = 0;
    while (i < o->domain_count && o->domains[i].backend != AUTH_BACKEND_USERDB)
        i++;
    return i;
}

/* NAME as a client would give it, so that what is added here can also be logged in with:
 * "users\alice" and "alice@users" are alice; "alice@corp.example" is refused where clients who say
 * so are asked of another domain. */
static bool find_account(const struct auth_options *o, const char *name, char *account,
                         struct err *e)
{
    size_t ours = first_userdb(o);
    struct identity id;
    /* A bare name means an account of the user database here, whatever the default domain. */
    struct auth_options bare = *o;
    bare.basic.default_domain = o->domains[ours].name;
    switch (identity_resolve(span_str(name), &bare, &id)) {
    case IDENTITY_OK: break;
    case IDENTITY_EMPTY: return err_set(e, ERR_PERM, "the user name is empty");
    case IDENTITY_MALFORMED:
        return err_set(e, ERR_PERM,
                       "a user name is 1 to %d bytes of UTF-8 without control characters, "
                       "backslashes and spaces at its ends",
                       USERDB_NAME_MAX);
    case IDENTITY_NO_DOMAIN:
        return err_set(e, ERR_PERM, "%s: authentication.domains has no such domain", name);
    }
    if (o->domains[id.domain].backend != AUTH_BACKEND_USERDB)
        return err_set(e, ERR_PERM,
                       "%s: clients who give this name are asked of the domain %s, which is no "
                       "user database",
                       name, o->domains[id.domain].name);
    (void)snprintf(account, USERDB_NAME_MAX + 1, "%s", id.account);
    return true;
}

/* --- the password ---------------------------------------------------------------------------- */

static int ask_twice(const struct user_call *u, struct secret *password, struct err *e)
{
    char prompt[PROMPT_MAX];
    struct secret again = {0};
    (void)snprintf(prompt, sizeof prompt, "Password for %s: ", u->name);
    if (!terminal_read_password(prompt, password, e) ||
        (password->n > 0 && !terminal_read_password("Once more: ", &again, e))) {
        err_wrap(e, "--password-stdin is not given");
        return EXIT_USAGE;
    }
    bool same = secret_equal(secret_span(password), secret_span(&again));
    secret_wipe(&again);
    if (same) /* an empty one is refused further on */
        return EXIT_DONE;
    err_set(e, ERR_PERM, "the two passwords are not the same");
    return EXIT_NO;
}

static int read_password(const struct user_call *u, struct secret *password, struct err *e)
{
    if (!u->password_stdin)
        return ask_twice(u, password, e);
    if (terminal_read_line(USERDB_PASSWORD_MAX, password, e))
        return EXIT_DONE;
    return e->class == ERR_TEMP ? EXIT_IO : EXIT_NO; /* no line, or too long a one */
}

static int set_password(struct user_call *u)
{
    struct secret password = {0};
    struct err e = {0};
    bool add = strcmp(u->verb, "add") == 0;
    int code = read_password(u, &password, &e);
    if (code == EXIT_DONE) {
        uint32_t iterations = u->policy->auth.scram.iterations;
        if (iterations == 0)
            iterations = AUTH_ITERATIONS_DEFAULT;
        struct span given = secret_span(&password);
        enum userdb_result result = add ? userdb_add(u->db, u->name, given, iterations, &e)
                                        : userdb_passwd(u->db, u->name, given, iterations, &e);
        code = exit_of(result, &e);
    }
    secret_wipe(&password);
    return finish(u, code, &e);
}

/* --- the verbs ------------------------------------------------------------------------------- */

static int unknown_user(const struct user_call *u)
{
    struct err e = {0};
    err_set(&e, ERR_PERM, "there is no user %s", u->name);
    return finish(u, EXIT_NO, &e);
}

static int do_add(struct user_call *u)
{
    return set_password(u);
}

static int do_passwd(struct user_call *u)
{
    struct userdb_entry entry;
    struct err e = {0};
    if (u->db == NULL)
        return unknown_user(u);
    /* Before anybody types a new password twice for nothing. */
    enum userdb_result result = userdb_get(u->db, u->name, &entry, &e);
    secret_wipe_bytes(&entry, sizeof entry);
    return result == USERDB_DONE ? set_password(u) : finish(u, exit_of(result, &e), &e);
}

static int do_remove(struct user_call *u)
{
    struct err e = {0};
    if (u->db == NULL)
        return unknown_user(u);
    enum userdb_result result = userdb_remove(u->db, u->name, &e);
    return finish(u, exit_of(result, &e), &e);
}

static int set_disabled(struct user_call *u, bool disabled)
{
    struct err e = {0};
    if (u->db == NULL)
        return unknown_user(u);
    enum userdb_result result = userdb_set_disabled(u->db, u->name, disabled, &e);
    return finish(u, exit_of(result, &e), &e);
}

static int do_disable(struct user_call *u)
{
    return set_disabled(u, true);
}

static int do_enable(struct user_call *u)
{
    return set_disabled(u, false);
}

/* RFC 3339, UTC; "-" for a time that the C library cannot tell. */
static void format_time(int64_t wall_ms, char *out, size_t size)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    const struct tm *t = gmtime(&seconds);
    if (t == NULL || strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", t) == 0)
        (void)snprintf(out, size, "-");
}

struct listing {
    json_t *array; /* NULL: print lines */
};

static bool list_one(void *context, const struct userdb_entry *entry)
{
    struct listing *l = context;
    char changed[32];
    format_time(entry->changed_wall_ms, changed, sizeof changed);
    if (l->array == NULL)
        printf("%-32s %-8s %s\n", entry->name, entry->disabled ? "disabled" : "enabled", changed);
    else
        json_array_append_new(l->array, json_pack("{s:o, s:b, s:s}", "name", json_text(entry->name),
                                                  "disabled", entry->disabled, "changed", changed));
    return true;
}

static int do_list(struct user_call *u)
{
    struct listing l = {.array = u->json ? json_array() : NULL};
    struct err e = {0};
    if (u->db != NULL && !userdb_list(u->db, list_one, &l, &e)) {
        json_decref(l.array);
        fprintf(stderr, "postern user list: %s\n", e.text);
        return EXIT_IO;
    }
    return u->json ? print_json(l.array, EXIT_DONE) : EXIT_DONE;
}

static const struct verb {
    const char *name;
    int (*run)(struct user_call *u);
    bool takes_name, takes_password, makes_file;
} verbs[] = {
    {"add", do_add, true, true, true},           {"passwd", do_passwd, true, true, false},
    {"remove", do_remove, true, false, false},   {"list", do_list, false, false, false},
    {"disable", do_disable, true, false, false}, {"enable", do_enable, true, false, false},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(name, verbs[i].name) == 0)
            return &verbs[i];
    return NULL;
}

/* The data directory may not be there yet: the first user is often added before the first start. */
static bool open_database(struct user_call *u, const struct verb *verb, struct err *e)
{
    const struct policy *p = u->policy;
    struct files_info info;
    if (verb->makes_file) {
        enum files_result there = files_stat(p->data_directory, &info, NULL);
        if (there == FILES_ABSENT) {
            if (!files_make_folder(p->data_directory, 0700, e))
                return false;
            if (p->config->service.user[0] != 0 &&
                !files_give(p->data_directory, p->config->service.user, e))
                return false;
        }
        return userdb_open(p->auth.userdb_path, true, &u->db, e);
    }
    switch (files_stat(p->auth.userdb_path, &info, e)) {
    case FILES_ABSENT: return true; /* nobody has been added yet */
    case FILES_FAILED: return false;
    case FILES_OK: break;
    }
    return userdb_open(p->auth.userdb_path, false, &u->db, e);
}

static int run(struct user_call *u, const struct verb *verb, const char *name)
{
    const struct auth_options *o = &u->policy->auth;
    char account[USERDB_NAME_MAX + 1];
    struct err e = {0};
    if (first_userdb(o) == o->domain_count) {
        fprintf(stderr, "postern user %s: authentication.domains of %s names no userdb\n",
                verb->name, u->policy->config->path);
        return EXIT_CONFIG;
    }
    if (verb->takes_name) {
        u->name = name;
        if (!find_account(o, name, account, &e))
            return finish(u, EXIT_NO, &e);
        u->name = account;
    }
    if (!open_database(u, verb, &e)) {
        fprintf(stderr, "postern user %s: %s\n", verb->name, e.text);
        return e.class == ERR_BUG ? EXIT_INTERNAL : EXIT_IO;
    }
    int code = verb->run(u);
    userdb_close(&u->db);
    return code;
}

int command_user(int argc, char **argv)
{
    const char *config = NULL;
    struct user_call u = {0};
    const struct option options[] = {
        {.name = "password-stdin",
         .help = "read the password from standard input, one line",
         .flag = &u.password_stdin},
        OPTION_CONFIG(&config),
        OPTION_JSON(&u.json),
    };
    struct command_line line = {
        .usage = "postern user add NAME [--password-stdin] [-c FILE] [--json]\n"
                 "postern user passwd NAME [--password-stdin] [-c FILE] [--json]\n"
                 "postern user remove|disable|enable NAME [-c FILE] [--json]\n"
                 "postern user list [-c FILE] [--json]",
        .about =
            "Keeps the accounts of the embedded user database (users.db in the data directory,\n"
            "made when it is missing), whether the service runs or not; a change holds at once.\n"
            "A password is asked for on the terminal or read from standard input, where one\n"
            "line end is taken off; it is never given on the command line.",
        OPTIONS(options),
        .operands_min = 1,
        .operands_max = 2,
    };
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    const struct verb *verb = find_verb(line.operands[0]);
    if (verb == NULL)
        return options_usage_error(&line, "user: there is no \"%s\"", line.operands[0]);
    if (verb->takes_name != (line.operand_count == 2))
        return options_usage_error(
            &line, verb->takes_name ? "user %s: which user?" : "user %s: takes no name",
            verb->name);
    if (u.password_stdin && !verb->takes_password)
        return options_usage_error(&line, "user %s: takes no password", verb->name);
    struct policy *policy = NULL;
    code = command_load_policy(config, false, &policy);
    if (code != EXIT_DONE)
        return code;
    u.policy = policy;
    u.verb = verb->name;
    code = run(&u, verb, line.operand_count == 2 ? line.operands[1] : NULL);
    policy_unref(&policy);
    return code;
}
